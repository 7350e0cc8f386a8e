"""Projects of one account at one port, by the names that clients ask for: real HAProxy, real supervisors."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from provision.errors import DeployError, PutBack
from tests.deploy.test_traffic_proxy import _certificate
from tests.deploy.typed import deploy
from tests.deploy.visitors import crowd, visitors
from tests.deploy.world import World, web
from tests.faults.hooks import until
from tests.testbed.fixtures import Place

_FRONT = "/var/lib/deploy/front/.deploy"


@pytest.fixture
def first(world: World) -> Iterator[World]:
    world.target["traffic"] = {}
    yield world
    world.down()


@pytest.fixture
def second(world: World, tmp_path: Path) -> Iterator[World]:
    """Another project, of the same account of the same host."""
    other = Place(world_number(world) + 300)
    target = {**world.target, "traffic": {}}
    if "name_prefix" in target:
        target["name_prefix"] = f"{other.name}-"
    found = World(tmp_path / "second", world.host, world.platform, other.path, other.port(), other.name, target=target)
    found.project = world.project
    yield found
    found.down()


def world_number(world: World) -> int:
    return int(world.name.removeprefix("place"))


def _declare(world: World, version: str, public: int, *, bad: bool = False, names: list[str] | None = None) -> None:
    """A service over TLS and one without, both by the project's own name."""
    host = names or [f"{world.name}.example.net"]
    check: dict[str, Any] = {"http": "/health", "timeout": "15s", "interval": "50ms"}
    if bad:
        check |= {"status": [418], "timeout": "1s"}
    tls = {"port": public, "names": host, **_certificate(world, host[0])}
    services = {
        "web": web(world.port, version, proxy=tls, check=check),
        "plain": web(world.port + 1, version, proxy={"port": public + 1, "names": host}),
    }
    world.declare(services)


def _users(stack: ExitStack, world: World, public: int) -> list[dict[str, Any]]:
    name = f"{world.name}.example.net"
    return [
        stack.enter_context(visitors(world, port=port, name=name, tls=port == public, seconds=2.0))
        for port in (public, public + 1)
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("platform", ["supervisord", "systemd", "docker"])
def test_a_second_project_comes_changes_and_goes_and_no_user_of_the_first_meets_it(first: World, second: World) -> None:
    public = first.port + 5
    _declare(first, "1", public)
    first.up()
    assert not _listens_for_all(first)
    with ExitStack() as stack:
        ours = _users(stack, first, public)
        _declare(second, "a", public, bad=True)
        with pytest.raises(PutBack):
            second.up()
        assert not _listens_for_all(first)  # nothing was shared for what was never proven

        _declare(second, "a", public)
        second.up()
        assert _listens_for_all(first)
        with ExitStack() as inner:
            theirs = _users(inner, second, public)
            _declare(second, "b", public)
            second.up()
            _declare(second, "c", public, bad=True)
            with pytest.raises(PutBack):
                second.up()
            _declare(first, "2", public)
            first.up()
            first.rollback()
        second.down()
        assert _listens_for_all(first)
        _declare(second, "d", public)
        second.up()
        first.up()
    told = json.loads(_ask(second, public, f"{second.name}.example.net").partition("\r\n\r\n")[2])
    assert told["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert told["headers"]["x-forwarded-proto"] == "https"
    assert {version for each in theirs for version in each["versions"]} == {"a", "b"}
    assert {version for each in ours for version in each["versions"]} == {"1", "2"}

    first.host.kill(_listens_for_all(first))
    until(
        lambda: _ask(first, public, f"{first.name}.example.net").split(" ")[1:2] == ["200"], "it comes back by itself"
    )
    first.down()
    assert _ask(second, public, f"{second.name}.example.net").split(" ")[1:2] == ["200"]
    assert "nobody has this name" in _ask(second, public + 1, f"{first.name}.example.net", "http")
    second.down()
    assert not _listens_for_all(first)
    first.up()


def _ask(world: World, port: int, name: str, scheme: str = "https") -> str:
    way = ["--http1.1", "--resolve", f"{name}:{port}:127.0.0.1"]
    return world.host.exec(["curl", "-ski", "-m", "15", *way, f"{scheme}://{name}:{port}/"], check=False).stdout


def _listens_for_all(world: World) -> int:
    """The pid of the host's front; 0 where there is none."""
    found = world.host.exec(["cat", f"{_FRONT}/traffic/haproxy.pid"], check=False).stdout.split()
    return int(found[0]) if found else 0


@pytest.mark.parametrize("platform", ["supervisord"])
def test_a_name_that_another_project_has_is_refused_and_so_is_tls_where_there_is_none(
    first: World, second: World
) -> None:
    public = first.port + 5
    _declare(first, "1", public)
    first.up()

    _declare(second, "a", public, names=[f"{second.name}.example.net", f"{first.name}.example.net"])
    with pytest.raises(DeployError, match=rf"'{first.name}.example.net' at port {public} is .*in {first.path}, which"):
        second.up()
    second.declare({"web": web(second.port, proxy={"port": public, "names": [f"{second.name}.example.net"]})})
    with pytest.raises(DeployError, match=rf"port {public} is the project's in {first.path}, too, which speaks TLS"):
        second.up()
    assert not _listens_for_all(first)
    assert not second.exists(".deploy/state.json")
    until(lambda: first.answers(first.port), "the first one serves")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("platform", ["docker"])
def test_who_takes_steps_in_a_container_leaves_a_shared_port_where_it_is(first: World, second: World) -> None:
    """A keeper there does not see what the host's projects share."""
    public = first.port + 5
    _declare(first, "1", public)
    first.up()
    _declare(second, "a", public)
    second.up()
    steps = {"steps": ["10%", "50%"], "each": "1s", "at_most": "4s", "abort": {"errors": "20%"}}
    first.target["rollout"] = {**steps, "undecided": "promote"}  # nobody comes to one of the services
    _declare(first, "2", public)
    with ExitStack() as stack:
        _users(stack, second, public)
        stack.enter_context(crowd(first, threads=1, pause=0.1))
        deploy(first, "up")
        assert "passed" in deploy(first, "rollout", "watch")
    listens = first.host.read(f"{first.path}/.deploy/traffic/haproxy.cfg").decode()
    assert f"behind-{public}.sock" in listens
    assert f":{public} " not in listens
    for world in (first, second):
        assert _ask(world, public, f"{world.name}.example.net").split(" ")[1:2] == ["200"]

    elsewhere = World(first.folder.parent / "third", first.host, "docker", "/opt/third", second.port + 9, "third")
    elsewhere.project, elsewhere.target = first.project, {"traffic": {}}
    _declare(elsewhere, "x", public)
    with pytest.raises(DeployError, match="does not see /opt/third"):
        elsewhere.up()


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["supervisord"])
@pytest.mark.parametrize("moment", ["begun", "shared"])
def test_whoever_shares_a_port_may_be_killed_and_no_user_of_the_first_meets_it(
    first: World, second: World, moment: str
) -> None:
    """Once the book says that the first one leaves its port, and once it has left it and nothing is committed."""
    public = first.port + 5
    _declare(first, "1", public)
    first.up()
    _declare(second, "a", public)
    told = f'"{public}": "{first.path if moment == "begun" else ""}"'
    wait = f"until grep -q '{told}' {_FRONT}/book.json 2>/dev/null; do :; done"
    kill = f"kill -9 $(grep -o '\"pid\": [0-9]*' {second.path}/.deploy/lock | grep -o '[0-9]*')"
    with ExitStack() as stack:
        _users(stack, first, public)
        with subprocess.Popen(first.host.inside(["sh", "-c", f"{wait}; {kill}"])), pytest.raises(DeployError):
            second.up()
        second.up()
        assert _listens_for_all(first)
        with ExitStack() as inner:
            _users(inner, second, public)
            first.up()


_HURT = {
    "its book is damaged": ("echo '{{' > {front}/book.json", "book.json can't be read"),
    "its book is gone": ("rm {front}/book.json", "does not say which projects share which ports"),
    "its configuration is gone": ("rm {front}/traffic/haproxy.cfg", "haproxy.cfg does not say what"),
    "it was stopped": ("supervisorctl stop deploy-front", "does not run"),
    "all of it is gone": ("supervisorctl stop deploy-front; rm -rf {front}", "does not run"),
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("platform", ["supervisord"])
def test_what_projects_share_is_seen_to_be_hurt_and_mended(first: World, second: World) -> None:
    public = first.port + 5
    for world in (first, second):
        _declare(world, "1", public)
        world.up()
    assert "deploy host mend" not in deploy(first, "status")
    assert "nothing to mend" in deploy(second, "host", "mend")

    for what, (hurt, said) in _HURT.items():
        first.host.exec(["sh", "-c", hurt.format(front=_FRONT)])
        assert re.search(rf"{said}.* next: deploy host mend", deploy(first, "status")), what
        assert "put right" in deploy(second, "host", "mend"), what
        assert "deploy host mend" not in deploy(first, "status"), what
        for world in (first, second):
            told = _ask(world, public, f"{world.name}.example.net")
            assert told.split(" ")[1:2] == ["200"], (what, told)
            assert f'"name": "{world.name}"' in told or world.name in told, what
    _declare(first, "2", public)
    first.up()
    second.down()
    first.down()
    assert not _listens_for_all(first)
