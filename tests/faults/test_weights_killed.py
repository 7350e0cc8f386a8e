"""Who changes a canary's share is killed at each line of the journal: everybody is answered, and it ends by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import rolling
from tests.deploy.visitors import behind_a_front, crowd
from tests.deploy.world import World
from tests.faults.hooks import until
from tests.faults.trial import Kill
from tests.testbed import TestHost
from tests.testbed.fixtures import Place

pytestmark = [pytest.mark.root, pytest.mark.slow]

_ON_HOST = "/root/on_host.py"
_JOURNAL = ("{private}/journal",)
_NEW = ("{private}/.journal.new",)
_STATE = ("{private}/.state.json.new",)
# About to be written, and written: the first line, traffic, commit; then the history and the state.
AT = [
    Kill("fsync", 1, _NEW),
    Kill("rename", 1, _NEW),
    *(Kill(call, line, _JOURNAL) for line in (1, 2) for call in ("write", "fsync")),
    Kill("rename", 1, _STATE),
    Kill("unlink", 1, _JOURNAL),
]


@pytest.fixture
def world(supervisord_host: TestHost, place: Place, tmp_path: Path) -> Iterator[World]:
    target = {"name_prefix": f"{place.name}-"}
    made = World(
        tmp_path / "project", supervisord_host, "supervisord", place.path, place.port(), place.name, "", target
    )
    made.host.write(_ON_HOST, Path(__file__).with_name("on_host.py").read_bytes())
    for world in behind_a_front(made):
        world.web("1")
        world.up()
        world.web("2")
        world.up("canary")
        yield world


def _request(world: World, **more: Any) -> str:
    request = {
        "root": world.path,
        "header": {"who": "fault test", "version": "", "project": world.name, "take_over": ""},
        "name": world.name,
        "platform": world.platform,
        "prefix": f"{world.name}-",
        "ports": [],
        "recover": False,
        **more,
    }
    return json.dumps(request)


def test_a_share_by_hand_is_the_old_one_or_the_new_one_and_the_next_command_works(world: World) -> None:
    private = {"private": f"{world.path}/.deploy"}
    seen = set()
    old = 0.0
    with crowd(world) as met:
        for number, kill in enumerate(AT):
            new = 0.1 + number / 100
            request = _request(world, weigh={"op": "weigh", "share": new}, kill=kill.request(private))
            ran = world.host.exec(["python3", "-I", _ON_HOST, "try"], stdin=request, timeout=120)
            assert json.loads(ran.stdout)["killed"], kill
            if number % 2:  # nobody comes, so the keeper ends it
                until(lambda: not world.exists(".deploy/journal"), f"it is ended by itself: {kill}", 60)

            told = rolling.weigh(world, new)
            seen.add(told["outcome"])
            assert rolling.traffic(world)["services"]["web"]["lanes"]["canary"]["share"] == pytest.approx(new), kill
            assert world.state()["shares"] == {"canary": new}
            assert not world.exists(".deploy/journal")
            old = new
    assert met["errors"] == 0
    assert seen == {"committed", "unchanged"}
    assert old
    world.web("2")
    assert world.up("canary").plan.unchanged


def test_a_step_of_a_rollout_goes_on_where_whoever_took_it_was_killed(world: World) -> None:
    script = f"{world.path}/.deploy/traffic/step"
    world.host.exec(["cp", "-p", script, f"{script}.as-it-is"])
    private = f"{world.path}/.deploy"
    with crowd(world) as met:
        for number, kill in enumerate(AT):
            rolling.begin(world, rolling.document(0.1, 0.3, each=3.0))
            asked = kill.request({"private": private})
            flag = f"/var/tmp/{world.name}.killed-{number}"
            paths = " ".join(f"--trace-path={path}" for path in asked["paths"])
            inject = f"--inject={kill.calls}:signal=SIGKILL:when={kill.when}"
            strace = f"/usr/bin/strace -qqq -o /dev/null --trace={kill.calls} {paths} {inject}"
            text = f"#!/bin/sh\nif mkdir {flag}; then exec {strace} {script}.as-it-is; fi\nexec {script}.as-it-is\n"
            world.host.exec(["sh", "-c", 'cat >"$0.new" && chmod 700 "$0.new" && mv "$0.new" "$0"', script], stdin=text)

            until(lambda: rolling.record(world)["step"] == 1, f"the second step: {kill}", 60)
            assert world.host.exec(["test", "-d", flag], check=False).returncode == 0, kill
            rolling.steer(world, "abort")
            assert not world.exists(".deploy/journal")
    assert met["errors"] == 0
