"""What is rendered for ufw, done by a real one. Golden files: make golden"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provision.manifests.ufw import files, firewall
from tests.manifests.projects import project
from tests.manifests.ufw.machine import MACHINE, NEIGHBOUR, Namespace, machine, namespace

GOLDEN = Path(__file__).parent / "golden"
TRAINER = "10.20.0.0/16"
CERTIFICATE = {"certificate": "/etc/ssl/chain.pem", "certificate_key": "/etc/ssl/key.pem"}
SERVICES: dict[str, dict[str, Any]] = {
    "rollout": {
        "command": ["rollout"],
        "port": 9000,
        "expose": [TRAINER, "2001:db8::/32"],
        "outbound": [f"{TRAINER}:8080-8130", "0.0.0.0/0:443"],
    },
    "web": {"command": ["web"], "port": 8000, "expose": ["0.0.0.0/0", "::/0"], "proxy": CERTIFICATE},
    "llama": {"command": ["llama"], "port": 8081},
}


def rendered(services: dict[str, Any], **target: Any) -> dict[str, str]:
    declared = project(services, **target)
    return files(declared, declared.targets["there"], Path("/nowhere"))


CASES = {
    "everything": rendered(SERVICES, firewall={"ssh": ["10.0.0.0/8"], "outgoing": "deny"}, hosts=["a@b:2222", "[::1]"]),
    "docker": rendered({"rollout": SERVICES["rollout"]}, platform="docker"),
}


@pytest.mark.parametrize(("case", "name"), [(case, name) for case, made in CASES.items() for name in made])
def test_the_file_is_as_reviewed(case: str, name: str) -> None:
    place = GOLDEN / case / name
    if os.environ.get("REWRITE_GOLDEN"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(CASES[case][name])

    assert CASES[case][name] == place.read_text()


@pytest.mark.parametrize("case", CASES)
def test_shellcheck_finds_nothing_in_the_script(case: str) -> None:
    subprocess.run(["shellcheck", GOLDEN / case / "ufw.sh"], check=True)


@pytest.mark.parametrize(
    ("hosts", "ports"),
    [
        (["a"], (22,)),
        (["root@a:2222", "b"], (22, 2222)),
        (["gpu-[01:16].example.net"], (22,)),
        (["root@gpu-[01:16]:2200"], (2200,)),
        (["[2001:db8::1]:23", "root@[2001:db8::1]"], (22, 23)),
        (["sandbox"], (22,)),
    ],
)
def test_ssh_is_open_at_the_ports_that_hosts_are_reached_at(hosts: list[str], ports: tuple[int, ...]) -> None:
    declared = project({"web": SERVICES["llama"]}, hosts=hosts)

    assert firewall(declared, declared.targets["there"]).ssh_ports == ports


def test_what_two_services_ask_for_is_one_rule() -> None:
    outbound = {"command": ["a"], "outbound": ["10.0.0.0/8:443"]}
    declared = project({"a": outbound, "b": outbound}, firewall={"outgoing": "deny"})

    texts = [rule.text for rule in firewall(declared, declared.targets["there"]).rules]

    assert texts.count("allow out to 10.0.0.0/8 port 443 proto tcp") == 1


@pytest.fixture
def network() -> Iterator[tuple[Namespace, Namespace]]:
    with machine() as both:
        yield both


def apply(here: Namespace, made: dict[str, str], *arguments: str, **env: str) -> list[str]:
    """What the script says that it does."""
    return here.run("sh", "-s", "--", *arguments, stdin=made["ufw.sh"], env=env).stdout.splitlines()


def reaches(here: Namespace, there: Namespace, port: int, within: float = 20) -> bool:
    """Whether the neighbour gets an answer from a port of the machine, with something listening there."""
    listen = f"import socket; s = socket.create_server(('', {port})); print(flush=True); s.settimeout(60); s.accept()"
    command = ["nsenter", f"--target={here.process.pid}", "--net", "/usr/bin/python3", "-c", listen]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as listener:
        try:
            assert listener.stdout
            listener.stdout.readline()
            asked = there.run("bash", "-c", f"timeout {within} bash -c '</dev/tcp/{MACHINE}/{port}'", check=False)
            return asked.returncode == 0
        finally:
            listener.kill()


@pytest.mark.root
def test_a_second_run_changes_nothing_and_what_is_declared_passes(network: tuple[Namespace, Namespace]) -> None:
    here, there = network
    here.run("ufw", "allow", "7000/tcp", "comment", "another team")

    first = apply(here, CASES["everything"])
    again = apply(here, CASES["everything"])

    assert first[0].startswith("+ ufw allow from 10.0.0.0/8 to any port 22 proto tcp")
    assert first[-1] == "+ ufw --force enable"
    assert again == ["nothing to change"]
    assert [reaches(here, there, port) for port in (22, 9000, 443, 7000)] == [True] * 4
    assert not reaches(here, there, 8000, within=1), "it is behind nginx"
    assert not reaches(here, there, 8081, within=1)
    assert "-P OUTPUT DROP" in here.run("iptables", "-S").stdout
    assert "-P OUTPUT DROP" in here.run("ip6tables", "-S").stdout
    assert here.run("bash", "-c", f"timeout 1 bash -c '</dev/tcp/{NEIGHBOUR}/8079'", check=False).returncode == 124
    assert here.run("bash", "-c", f"timeout 20 bash -c '</dev/tcp/{NEIGHBOUR}/8080'", check=False).returncode == 1


@pytest.mark.root
def test_what_is_declared_no_more_is_closed_and_what_others_made_stays(network: tuple[Namespace, Namespace]) -> None:
    here, there = network
    wide = rendered({"web": {**SERVICES["llama"], "expose": ["0.0.0.0/0", "::/0"]}})
    narrow = rendered({"web": {**SERVICES["llama"], "expose": ["0.0.0.0/0"]}})
    here.run("ufw", "allow", "7000/tcp", "comment", "another team")
    apply(here, wide)
    before = here.run("ufw", "status", "verbose").stdout

    planned = apply(here, narrow, "--plan")
    untouched = here.run("ufw", "status", "verbose").stdout
    done = apply(here, narrow)

    assert planned == done == ["+ ufw --force delete allow from ::/0 to any port 8081 proto tcp"]
    assert untouched == before
    assert "8081/tcp (v6)" in before
    after = here.run("ufw", "status", "verbose").stdout
    assert "8081/tcp (v6)" not in after
    assert "8081/tcp" in after
    assert "7000/tcp" in after
    assert reaches(here, there, 8081)


@pytest.mark.root
def test_who_runs_it_through_ssh_stays_in_wherever_that_comes_from(network: tuple[Namespace, Namespace]) -> None:
    here, there = network
    only_far = rendered({"llama": SERVICES["llama"]}, firewall={"ssh": ["192.0.2.0/24"]})

    apply(here, only_far, SSH_CONNECTION=f"{NEIGHBOUR} 50000 {MACHINE} 2022")

    assert reaches(here, there, 2022)
    assert not reaches(here, there, 22, within=1)


@pytest.mark.root
def test_what_docker_publishes_is_closed_but_for_what_is_exposed(network: tuple[Namespace, Namespace]) -> None:
    """A second network behind the machine, as Docker makes one, led to as Docker leads."""
    here, there = network
    with namespace("ip link set lo up; echo ready; exec sleep 600") as container:
        here.run(
            "ip", "link", "add", "out0", "type", "veth", "peer", "name", "up0", "netns", str(container.process.pid)
        )
        for side, device, address in ((here, "out0", "172.17.0.1"), (container, "up0", "172.17.0.2")):
            side.run("ip", "addr", "add", f"{address}/24", "dev", device)
            side.run("ip", "link", "set", device, "up")
        container.run("ip", "route", "add", "default", "via", "172.17.0.1")
        here.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        for port in (9000, 9001):
            lead = f"-t nat -A PREROUTING -p tcp --dport {port} -j DNAT --to-destination 172.17.0.2:{port}"
            here.run("iptables", *lead.split())
        here.run("iptables", "-N", "DOCKER-USER")
        here.run("iptables", *["-A", "FORWARD", "-j", "DOCKER-USER"])
        here.run("iptables", *["-A", "FORWARD", "-o", "out0", "-j", "ACCEPT"])
        here.run("iptables", *["-A", "FORWARD", "-i", "out0", "-j", "ACCEPT"])
        assert reaches(container, there, 9001), "Docker's bypass is what is to be closed"

        apply(here, CASES["docker"])

        assert reaches(container, there, 9000)
        assert not reaches(container, there, 9001, within=1)
