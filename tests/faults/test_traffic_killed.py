"""Something is killed while requests are on their way: the worker, HAProxy, the supervisor, the whole host.

Users of a worker that is killed meet nothing. Whoever else it is, the declared ports answer afterwards with one whole
release, and the next command works.
"""

from __future__ import annotations

import contextlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from provision import rollout
from tests.deploy.visitors import visitors
from tests.deploy.world import World, web
from tests.faults.hooks import until
from tests.faults.supervisors import KILLED
from tests.faults.trial import Kill, rollback_to
from tests.testbed import Kind
from tests.testbed.fixtures import MakeHost, Place

pytestmark = [pytest.mark.root, pytest.mark.slow]

_ON_HOST = "/root/on_host.py"
# Each line of the journal: about to be written, and written. The first one is a file that gets its name.
_LINES = ["start beside", "hold", "stop what is held", "move", "commit"]
STEPS = {
    "begin": Kill("?rename,?renameat,?renameat2", 1, ("{private}/.journal.new",)),
    **{
        f"{'about to ' if call == 'write' else ''}{line}": Kill(call, 1 + number, ("{private}/journal",))
        for number, line in enumerate(_LINES)
        for call in ("write", "fsync")
    },
    "end": Kill("?unlink,?unlinkat", 1, ("{private}/journal",)),
}
_HAPROXY = "kill -9 $(cat {private}/traffic/haproxy.pid)"


@pytest.fixture
def world(platform: str, make_host: MakeHost, place: Place, tmp_path: Path) -> World:
    host = make_host(Kind(platform))
    made = World(tmp_path / "project", host, platform, place.path, place.port(), place.name, target={"traffic": {}})
    made.host.write(_ON_HOST, Path(__file__).with_name("on_host.py").read_bytes())
    return made


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("victim", ["worker", "HAProxy", "supervisor", "host"])
def test_killed_at_any_step_one_whole_release_serves_and_the_next_command_works(world: World, victim: str) -> None:
    releases = {}
    for version in "21":
        _declare(world, version)
        releases[world.up().plan.release] = version
    seen = set()

    for name, kill in STEPS.items():
        old = releases[world.stable]
        new = {"1": "2", "2": "1"}[old]
        to = next(key for key, value in releases.items() if value == new)
        met = [visitors(world), visitors(world, port=world.port + 1, streams=0)] if victim == "worker" else []
        with contextlib.ExitStack() as stack:
            for each in met:
                stack.enter_context(each)
            _strike(world, victim, to, kill)

        serves = releases[world.stable]
        seen.add(serves == new)
        programs = world.state()["programs"]
        try:
            for port in (world.port, world.port + 1):
                until(partial(world.answers, port), "the declared port answers", 10)
                assert str(world.get(port=port)["version"]) == serves
            assert sorted(each["service"] for each in programs.values()) == ["held", "keeper", "traffic", "web"]
            _declare(world, serves)
            assert world.up().plan.unchanged
            left = _asked(world, "look", {})
            assert left["journal"] is None
            assert left["litter"] == []
            assert sorted(left["known"]) == sorted(programs)
        except AssertionError as error:
            raise AssertionError(f"{victim} at {name!r}: {error}") from error

    if victim in ("worker", "host"):
        assert seen == {True, False}
    elif victim == "HAProxy":
        assert seen == {True}  # its supervisor brings it back, and nothing has to be put back for that


def _strike(world: World, victim: str, to: str, kill: Kill) -> None:
    """Have it killed at that step on the way to a release, and wait until what was begun has ended."""
    if victim == "worker":
        tried = _killed_on_its_way_to(world, to, kill)
        assert tried["killed"]
        assert tried["after"]["journal"] is None
        return
    if victim == "host":
        assert _killed_on_its_way_to(world, to, kill, recover=False)["killed"]
        world.host.reboot()
        until(lambda: not world.exists(".deploy/journal"), "the boot hook has ended what was begun")
        until(lambda: world.status().state == "serving", "it has let go of its lock")
        return
    script = _HAPROXY.format(**_place(world)) if victim == "HAProxy" else KILLED[world.platform]
    tried = _killed_on_its_way_to(world, to, kill, then=script, recover=False)
    if tried["broken"]["journal"] is not None:
        assert victim == "supervisor", tried["events"][-1]
        assert tried["broken"]["journal"][-1] == "degraded"
    if victim == "supervisor":
        rollout.unlock(world.deployment(), yes=True)


def _declare(world: World, version: str) -> None:
    world.declare(
        {
            "web": web(world.port, version),
            "held": web(world.port + 1, version, switch="in-place"),
        }
    )


def _place(world: World) -> dict[str, str]:
    return {"private": f"{world.path}/.deploy"}


def _killed_on_its_way_to(
    world: World, release: str, kill: Kill, then: str = "", recover: bool = True
) -> dict[str, Any]:
    asked = kill.request(_place(world)) | ({"then": then} if then else {})
    transaction = rollback_to(release, world.platform)
    return _asked(world, "try", {"recover": recover, "kill": asked, "transaction": transaction})


def _asked(world: World, verb: str, more: dict[str, Any]) -> dict[str, Any]:
    request = {
        "root": world.path,
        "header": {"who": "fault test", "version": "", "project": world.name, "take_over": ""},
        "name": world.name,
        "platform": world.platform,
        "prefix": f"{world.name}-" if world.platform == "systemd" else "",
        "ports": [],
        **more,
    }
    ran = world.host.exec(["python3", "-I", _ON_HOST, verb], stdin=json.dumps(request), timeout=300)
    return dict(json.loads(ran.stdout))
