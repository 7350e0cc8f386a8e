"""Whoever takes over the keeper's container has what it has: real engine, its own container, each verb after that."""

from __future__ import annotations

import hashlib

import pytest

from tests.deploy.docker_host import DockerHost
from tests.deploy.typed import deploy
from tests.deploy.visitors import crowd
from tests.deploy.world import World, web
from tests.faults.hooks import until

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.parametrize("platform", ["docker"]),
    pytest.mark.usefixtures("rollout_on_docker"),
]

# Files of which somebody else goes by what they say, or by which something is run.
_NOTES = ("state.json", "journal", "history/00000099.json", "failed.json", "once.json", "evidence/x", "supervisor.json")
_OTHERS = ("claim", "mending", "locks/lock", "lock", "peers/x", "run/x", "agents/x", "containers/x")
_NOT_ITS_OWN = [*(f".deploy/{each}" for each in (*_NOTES, *_OTHERS)), "releases/x", "shared/x", "stable"]
_ODD = {
    "a pipe": "mkfifo {}",
    "a folder": "mkdir {}",
    "a link to what has no end": "ln -s /dev/zero {}",
    "a link elsewhere": "ln -s /srv/precious {}",
}


def attack(docker_host: DockerHost, world: World, script: str, whom: str = "keeper") -> str:
    """Be the keeper, or another container."""
    container = docker_host.client.containers.get(world.program(whom))
    said = container.exec_run(["sh", "-c", script], workdir=world.path).output
    assert isinstance(said, bytes)
    return said.decode()


def digests(docker_host: DockerHost, world: World) -> str:
    """What nobody but who deploys may change."""
    look = "cd $0 && find . -path ./.deploy/traffic -prune -o -path ./shared -prune -o -type f -print | sort"
    look += " | xargs sha256sum"
    said = docker_host.host.exec(["sh", "-c", look, str(world.path)]).stdout
    return hashlib.sha256(said.encode()).hexdigest()


def test_it_writes_to_nothing_that_somebody_else_goes_by(docker_host: DockerHost, world: World) -> None:
    before = digests(docker_host, world)
    tried = "; ".join(
        f"(echo x > {each}) 2>&1; ln -sf /etc/passwd {each} 2>&1; rm -rf {each} 2>&1" for each in _NOT_ITS_OWN
    )
    said = attack(docker_host, world, f"{tried}; mv .deploy/history .deploy/h 2>&1; mv .deploy/traffic x 2>&1; true")
    assert "Read-only file system" in said
    assert digests(docker_host, world) == before


@pytest.mark.parametrize("whom", ["keeper", "traffic"])
def test_it_reads_no_secret_of_a_service(docker_host: DockerHost, world: World, whom: str) -> None:
    world.declare({"web": web(world.port, "3", secrets=["TOKEN"])}, env="TOKEN=abracadabra\n")
    deploy(world, "up", "--abort-rollout")
    look = "grep -rs abracadabra .deploy/[!t]*"
    assert "abracadabra" in docker_host.host.exec(["sh", "-c", f"cd {world.path} && {look}"]).stdout
    assert not attack(docker_host, world, look, whom)
    assert not attack(docker_host, world, "ls .deploy/run", whom)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("odd", _ODD.values(), ids=_ODD)
def test_nothing_odd_in_its_folder_holds_a_verb_or_leads_it_elsewhere(
    docker_host: DockerHost, world: World, odd: str
) -> None:
    host = docker_host.host
    host.exec(["sh", "-c", "mkdir -p /srv; echo precious > /srv/precious"])
    hour = "$(($(date +%s) / 3600))"
    names = ["start", "keep", "step", "steps.json", "step.json", "decision.json", f"rings/{hour}.jsonl"]
    names += ["haproxy.cfg", "haproxy.pid", "keeper.sock", "placed.json", ".haproxy.cfg.new", ".start.new"]
    folder = f"{world.path}/.deploy/traffic"
    # Stopped first: it would make some of them anew.
    docker_host.client.containers.get(world.program("keeper")).pause()
    planted = "; ".join(f'rm -rf "{each}"; {odd.format(chr(34) + each + chr(34))}' for each in names)
    host.exec(["sh", "-c", f"cd {folder} && mkdir -p rings; {planted}"])

    for words in (
        ["status"],
        ["history"],
        ["traffic"],
        ["traffic", "--minutes", "600"],
        ["plan"],
        ["rollout", "pause"],
        ["rollout", "abort"],
        ["rollback"],
        ["up", "--channel", "stable"],
        ["host", "mend"],
        ["logs", "traffic", "--lines", "5"],
        ["down"],
    ):
        with world.cli(*words) as process:
            said, _ = process.communicate(timeout=180)
        assert "Traceback" not in said, (words, said)
        assert process.returncode in (0, 1, 3, 4, 5), (words, said)
        if process.returncode:
            assert ".deploy/traffic" in said or "rollout" in said or "next:" in said, (words, said)
    assert host.exec(["cat", "/srv/precious"]).stdout == "precious\n"


def test_a_forged_step_is_no_more_than_a_step(docker_host: DockerHost, world: World) -> None:
    with crowd(world):
        said = attack(
            docker_host,
            world,
            """python3 - <<'E'
import json
state = json.load(open(".deploy/state.json"))
notes = {"sequence": state["sequence"], "id": state["rollout"]["id"], "channels": {"stable": "x"}, "programs": {}}
notes["moves"] = [{"move": "promote", "why": "now", "time": 1, "findings": []}]
open(".deploy/traffic/steps.json", "w").write(json.dumps(notes))
E""",
        )
        assert not said
        assert "10% of the clients; running" in deploy(world, "status")
    attack(docker_host, world, "sed -i s/promote/abort/ .deploy/traffic/steps.json")
    until(lambda: "aborted" in deploy(world, "status"), "that it may")
    assert "now" in deploy(world, "history")
    assert world.version == "1"
    assert docker_host.host.exec(["readlink", f"{world.path}/stable"]).stdout.startswith("releases/")
