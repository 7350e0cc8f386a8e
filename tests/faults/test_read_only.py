"""A folder of the host can't be written to, or is full: said in a sentence, before anything that runs is touched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from provision import rollout
from provision.errors import PutBack, Refused
from tests.deploy.world import World, web
from tests.faults.hooks import at
from tests.testbed import TestHost
from tests.testbed.fixtures import Place

pytestmark = pytest.mark.root

_MANIFESTS = {"supervisord": "/etc/supervisor/conf.d", "systemd": "/etc/systemd/system"}
_READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"'
_FULL_ANEW = 'mount -t tmpfs -o size=64k,mode=755 none "$1"; cat /dev/zero >"$1/full" 2>/dev/null || :'
_FULL = """
cp -a "$1" /tmp/was; mount -t tmpfs -o size=1m,mode=755 none "$1"; cp -a /tmp/was/. "$1"; rm -r /tmp/was
cat /dev/zero >"$1/full" 2>/dev/null || :
"""


def on(*platforms: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("world", platforms, indirect=True)


@pytest.fixture
def world(request: pytest.FixtureRequest, place: Place, tmp_path: Path) -> World:
    platform = str(request.param)
    host: TestHost = request.getfixturevalue(f"{platform}_host")
    target: dict[str, Any] = {"name_prefix": f"{place.name}-"} if platform == "supervisord" else {}
    return World(tmp_path / "project", host, platform, place.path, place.port(), place.name, target=target)


@contextmanager
def spoilt(world: World, how: str, folder: str) -> Iterator[None]:
    world.host.exec(["sh", "-ec", how, "sh", folder])
    try:
        yield
    finally:
        world.host.exec(["umount", "--lazy", folder])


def changed(world: World) -> None:
    world.web("2", switch="in-place")


@on("systemd", pytest.param("supervisord", marks=pytest.mark.slow))
def test_a_host_that_can_t_keep_what_a_deploy_writes_refuses_it_undisturbed(world: World) -> None:
    """With /etc read-only the old program was stopped and the host `degraded`; elsewhere it was a traceback."""
    world.web("1")
    world.up()
    old = world.pid("web")
    changed(world)
    manifests = _MANIFESTS[world.platform]
    cases = [
        (_READ_ONLY, manifests, f"{manifests} is mounted read-only"),
        (_READ_ONLY, "/var/lib/deploy", "does not let us write there (Read-only file system: /var/lib/deploy"),
        (_FULL_ANEW, "/var/lib/deploy", "no room left on the host (No space left on device"),
        (_READ_ONLY, world.path, f"does not let us write there (Read-only file system: {world.path}"),
    ]
    if world.platform == "supervisord":
        cases += [
            (_FULL, manifests, "no room left on the host (No space left on device"),
            (_READ_ONLY, f"{world.path}/shared/logs", "shared/logs is mounted read-only"),
            (_FULL, f"{world.path}/shared/logs", "no room left on the host (No space left on device"),
        ]
    for how, folder, said in cases:
        with spoilt(world, how, folder), pytest.raises(Refused) as refused:
            world.up()
        assert said in refused.value.what, folder
        assert "Nothing that runs was touched" in refused.value.why
        assert not refused.value.log
        assert world.status().state == "serving", folder
        assert (world.pid("web"), world.version) == (old, "1"), folder

    # What is mounted so is known before anything is sent.
    with spoilt(world, _READ_ONLY, manifests):
        planned = rollout.plan(world.deployment())[0].plan
        assert planned.refused is not None
        assert "is mounted read-only" in planned.refused.what
        world.web("1")
        assert world.up().outcome == "unchanged"
    changed(world)
    assert world.up().outcome == "committed"


@on("supervisord", pytest.param("systemd", marks=pytest.mark.slow))
def test_what_becomes_read_only_on_the_way_is_put_back_and_not_degraded(world: World) -> None:
    """The way back wrote again what the files said already, and removed what was not there."""
    late = ["sh", "-c", 'sleep 1; exec python3 server.py "$1"', "sh", "${port}"]

    def declare(version: str, **more: Any) -> None:
        world.declare({"web": web(world.port, version, command=late, switch="in-place"), **more})

    declare("1")
    world.up()
    declare("2", more=web(world.port + 1, after=["web"]))
    manifests = _MANIFESTS[world.platform]
    at(world, lambda: world.host.exec(["sh", "-ec", _READ_ONLY, "sh", manifests]), event="step", step="start")
    try:
        with pytest.raises(PutBack, match="Read-only file system"):
            world.up()
    finally:
        world.host.exec(["umount", "--lazy", manifests])

    assert world.status().state == "serving"
    assert world.version == "1"
    assert world.up().outcome == "committed"


@on("supervisord")  # systemd's is in the folder of the manifests
def test_a_hook_that_cannot_be_written_is_a_warning(world: World) -> None:
    """What starts us after a reboot lies in one more folder, which is none that a deploy needs."""
    world.host.write("/root/onstart.sh", "#!/bin/sh\n")
    world.web("1")
    with spoilt(world, _READ_ONLY, "/root"):
        assert world.up().outcome == "committed"
    world.host.exec(["rm", "/root/onstart.sh"])
    said = [event["text"] for event in world.events if event["event"] == "warning"]
    assert any("after a reboot can't be written" in text and "Read-only" in text for text in said), said
