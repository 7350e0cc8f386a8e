"""Certificates that a host gets by itself: real HAProxy and supervisors, from Let's Encrypt's own test server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provision.rollout.doctor import doctor
from tests.cluster.parts import build, program
from tests.deploy.visitors import behind_a_front, visitors
from tests.deploy.world import World, web
from tests.faults.hooks import until
from tests.testbed.fixtures import Place

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.parametrize("platform", ["supervisord", "docker"])]

_NAME, _OTHER = "shop.example.net", "www.example.net"
_FOLDER = "/root/pebble"
_API, _MANAGEMENT = 14000, 15000


@pytest.fixture
def world(world: World) -> Iterator[World]:
    yield from behind_a_front(world)


@pytest.fixture
def authority(world: World) -> Iterator[dict[str, Any]]:
    """Pebble on the host, which asks at port 80 there; what names it as the target's."""
    build(["pebble"], tell=lambda _: None)
    host, ca = world.host, "/etc/ssl/pebble.pem"  # where containers see it, too
    host.exec(["mkdir", "-p", _FOLDER])
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    host.exec([*words, "-addext", "subjectAltName=DNS:localhost", "-keyout", f"{_FOLDER}/api.key", "-out", ca])
    listens = {"listenAddress": f"127.0.0.1:{_API}", "managementListenAddress": f"127.0.0.1:{_MANAGEMENT}"}
    files = {"certificate": ca, "privateKey": f"{_FOLDER}/api.key"}
    lives = {"profiles": {"default": {"description": "short", "validityPeriod": 75}}}
    pebble = {
        "pebble": {**listens, **files, **lives, "httpPort": 80, "tlsPort": 443, "externalAccountBindingRequired": False}
    }
    host.write(f"{_FOLDER}/pebble.json", json.dumps(pebble))
    host.exec(["sh", "-c", f"echo 127.0.0.1 {_NAME} >> /etc/hosts"])
    host.write(f"{_FOLDER}/pebble", program("pebble").read_bytes(), mode=0o755)
    start = f"PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=20 setsid {_FOLDER}/pebble -config {_FOLDER}/pebble.json"
    host.exec(["sh", "-c", f"{start} >{_FOLDER}/log 2>&1 & echo $! >{_FOLDER}/pid"])
    asked = ["curl", "-fsS", "--cacert", ca, f"https://localhost:{_API}/dir"]
    until(lambda: host.exec(asked, check=False).returncode == 0, "pebble answers")
    yield {"terms_agreed": True, "email": "ops@example.net", "directory": f"https://localhost:{_API}/dir", "ca": ca}
    host.exec(["sh", "-c", f"kill $(cat {_FOLDER}/pid); sed -i /{_NAME}/d /etc/hosts"])


def _declare(world: World, authority: dict[str, Any], names: list[str], version: str = "1") -> None:
    world.target["traffic"] = {"acme": authority}
    world.declare({"web": web(world.port, version, proxy={"names": names, "tls": "auto"})})


def _shown(world: World, name: str = _NAME) -> str:
    """What strangers are shown for the name."""
    asked = f"openssl s_client -connect 127.0.0.1:443 -servername {name} </dev/null 2>/dev/null"
    return world.host.exec(["sh", "-c", f"{asked} | openssl x509 -noout -issuer -serial -ext subjectAltName"]).stdout


def _findings(world: World) -> list[dict[str, str]]:
    (host,) = doctor(world.deployment())
    return [{"word": each.word, "text": each.text} for each in host.findings if each.subject == "certificate"]


def test_a_certificate_comes_by_itself_is_shown_without_a_reload_and_is_renewed(
    world: World, authority: dict[str, Any]
) -> None:
    _declare(world, authority, [_NAME])
    world.up()
    until(lambda: "Pebble" in _shown(world), "the authority's certificate is shown", 60)

    root = world.host.exec(["curl", "-sSk", f"https://localhost:{_MANAGEMENT}/roots/0"]).stdout
    world.host.write(f"{_FOLDER}/root.pem", root)
    served = ["curl", "-sS", "--cacert", f"{_FOLDER}/root.pem", "--resolve", f"{_NAME}:443:127.0.0.1"]
    assert json.loads(world.host.exec([*served, f"https://{_NAME}/"]).stdout)["version"] == "1"
    plain = ["curl", "-sS", "-o", "/dev/null", "-w", "%{redirect_url}", "-H", f"Host: {_NAME}", "http://127.0.0.1/a"]
    assert world.host.exec(plain).stdout == f"https://{_NAME}/a"
    below = f"{world.path}/.deploy/traffic/acme"
    modes = world.host.exec(["sh", "-c", f"stat -c %a {below} {below}/*"]).stdout.split()
    assert set(modes) <= {"700", "600", "644"}
    assert not world.host.exec(
        ["sh", "-c", f"find {below} -name '*key*' -perm /077 -o -name '*.pem' -perm /077"]
    ).stdout
    assert not [each for each in _findings(world) if "was given" in each["text"]]

    first, workers = _shown(world), _workers(world)
    with visitors(world, streams=2):
        until(lambda: _serial(_shown(world)) != _serial(first), "it is renewed", 150)
    assert _workers(world) == workers


def test_what_an_authority_refuses_is_told_and_asked_for_again_with_the_next_release(
    world: World, authority: dict[str, Any]
) -> None:
    _declare(world, authority, [_NAME, _OTHER])  # whose address nobody knows
    world.up()
    assert world.answers()
    until(lambda: "was given" in json.dumps(_findings(world)), "doctor tells why there is none", 60)
    (told,) = [each for each in _findings(world) if "was given" in each["text"]]
    assert told["word"] == "problem"
    assert re.search(rf"web: no certificate was given for {_NAME}, {_OTHER}: .*{_OTHER}", told["text"])
    assert "Pebble" not in _shown(world)

    _declare(world, authority, [_NAME], "2")
    world.up()
    until(lambda: "Pebble" in _shown(world), "it is asked for at once", 60)
    assert not [each for each in _findings(world) if "was given" in each["text"]]


@pytest.mark.timeout(900)
def test_two_projects_that_share_the_ports_each_get_theirs(
    world: World, authority: dict[str, Any], tmp_path: Path
) -> None:
    """Who asks for the first one's at port 80 comes through what hands connections on."""
    place = Place(int(world.name.removeprefix("place")) + 300)
    target = {**world.target, "traffic": {"acme": authority}}
    if "name_prefix" in target:
        target["name_prefix"] = f"{place.name}-"
    other = World(tmp_path / "other", world.host, world.platform, place.path, place.port(), place.name, target=target)
    other.project = world.project
    proxy = {"names": [_OTHER], "tls": "auto"}
    world.host.exec(["sh", "-c", f"echo 127.0.0.1 {_OTHER} '#' {_NAME} >> /etc/hosts"])
    _declare(world, authority, [_NAME])
    world.up()
    until(lambda: "Pebble" in _shown(world), "the first one's is shown", 60)
    first = _shown(world)
    other.declare({"web": web(other.port, "a", proxy=proxy)})
    other.up()
    try:
        until(lambda: "Pebble" in _shown(world, _OTHER), "the second one's is shown", 60)
        assert _OTHER in _shown(world, _OTHER)
        assert _NAME in _shown(world)
        until(
            lambda: _serial(_shown(world)) != _serial(first), "the first one's is renewed behind the other front", 150
        )
    finally:
        other.down()


def _workers(world: World) -> str:
    """HAProxy's processes that speak with clients: a reload makes another."""
    return world.host.exec(["sh", "-c", f'pgrep -P "$(cat {world.path}/.deploy/traffic/haproxy.pid)"']).stdout


def _serial(shown: str) -> str:
    found = re.search(r"serial=(\S+)", shown)
    assert found
    return found[1]
