"""Verbs for machines behind one front: who is led to for what, through each of them, and when the front goes away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provision import rollout
from provision.errors import PutBack, SomeHostsFailed
from provision.rollout.behind import forget
from tests.deploy.fleet import PATH, PORT, Fleet
from tests.deploy.visitors import visitors
from tests.deploy.world import web
from tests.faults.hooks import until
from tests.faults.trial import Kill
from tests.testbed import Kind
from tests.testbed.fixtures import MakeHost

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

_ON_HOST = "/root/on_host.py"
_JOURNAL, _STATE = (f"{PATH}/.deploy/journal",), (f"{PATH}/.deploy/.state.json.new",)
# About to be written, and written: the first line, traffic, commit; then the state, and the journal's end.
_AT = [
    Kill("fsync", 1, (f"{PATH}/.deploy/.journal.new",)),
    *(Kill(call, line, _JOURNAL) for line in (1, 2) for call in ("write", "fsync")),
    Kill("rename", 1, _STATE),
    Kill("unlink", 1, _JOURNAL),
]


@pytest.fixture
def fleet(make_host: MakeHost, tmp_path: Path) -> Iterator[Fleet]:
    edge, *machines = [make_host(Kind.SUPERVISORD) for _ in range(3)]
    yield Fleet(tmp_path / "project", edge, machines)


def test_a_service_that_is_stopped_on_one_machine_is_asked_for_at_the_others_and_all_else_goes_on(
    fleet: Fleet,
) -> None:
    other = {"other": web(PORT + 1)}
    fleet.declare("1", services=other)
    fleet.up("edge")
    fleet.up()
    first, second = (each.address for each in fleet.machines)
    names = [each.name for each in fleet.deployment().hosts]

    with visitors(fleet), visitors(fleet, port=PORT + 1, streams=0):  # type: ignore[arg-type]
        rollout.on_purpose(fleet.deployment(), "stop", ["other"], hosts=names[:1])
        assert _led_to(fleet) == {first: {"web"}, second: {"web", "other"}}
        rollout.on_purpose(fleet.deployment(), "restart", ["web"])  # of which nobody may say that `other` is there
        assert _led_to(fleet) == {first: {"web"}, second: {"web", "other"}}
        fleet.declare("2", services=other)
        fleet.up(hosts=names[1:])  # alone there, `other` is not waited for at the first one
        fleet.up()
        assert _led_to(fleet) == {first: {"web", "other"}, second: {"web", "other"}}

        rollout.on_purpose(fleet.deployment(), "stop", hosts=names[:1])
        assert _led_to(fleet) == {second: {"web", "other"}}
        fleet.declare("3", services=other, check={"http": "/health", "status": [418], "timeout": "1s"})
        with pytest.raises(PutBack):
            fleet.up(hosts=names[:1])
        assert _led_to(fleet) == {second: {"web", "other"}}  # what it had before was stopped
    assert set(fleet.peers()) == {first, second}


def test_a_canary_its_promotion_and_the_way_back_cost_nobody_a_request(fleet: Fleet) -> None:
    fleet.declare("1")
    fleet.up("edge")
    fleet.up()
    with visitors(fleet) as met:  # type: ignore[arg-type]
        fleet.declare("2")
        fleet.up(channel="canary")
        assert set(fleet.peers().values()) == {True}
        asked = ["curl", "-s", "-H", "X-Lane: canary", f"http://127.0.0.1:{PORT}/"]
        assert json.loads(fleet.host.exec(asked).stdout)["version"] == "2"
        rollout.promote(fleet.deployment())
        until(lambda: _version(fleet) == "2", "all have it")
        rollout.rollback(fleet.deployment())
        until(lambda: _version(fleet) == "1", "and back")
        rollout.on_purpose(fleet.deployment(), "restart")
    assert met["versions"][-1] == "1"
    assert set(fleet.peers().values()) == {True}


def test_where_the_front_goes_away_meanwhile_the_release_stays_and_the_next_up_tells_it(fleet: Fleet) -> None:
    fleet.declare("1")
    fleet.up("edge")
    fleet.up()
    first, second = (each.address for each in fleet.machines)
    name = fleet.deployment().hosts[0].name
    fleet.declare("2")
    fleet.events = _Ends(fleet, "check")  # once the front was told that nothing new is to come there
    with pytest.raises(SomeHostsFailed, match=r"could not be told") as failed:
        fleet.up(hosts=[name])
    fleet.events = []
    assert failed.value.exit == 3
    assert failed.value.next_step == "deploy status --target edge, then this again"

    fleet.host.start()
    until(lambda: _version(fleet) != "", "the front is there again", 60)
    with visitors(fleet):  # type: ignore[arg-type]
        assert fleet.peers() == {first: False, second: True}
        assert _version(fleet) == "1"  # nobody comes to the one that was changed
        (outcome,) = fleet.up(hosts=[name])
        assert outcome.plan.unchanged
        assert fleet.peers() == {first: True, second: True}


def test_who_tells_the_front_is_killed_at_each_line_and_the_next_command_works(fleet: Fleet) -> None:
    fleet.declare("1")
    fleet.up("edge")
    fleet.up()
    host = fleet.host
    host.write(_ON_HOST, (Path(__file__).parents[1] / "faults/on_host.py").read_bytes())
    places = fleet.places()
    machine = places["gpu.1"]["host"]
    with visitors(fleet) as met:  # type: ignore[arg-type]
        for number, kill in enumerate(_AT):
            way = "rest" if number % 2 else "drain"
            asked: dict[str, Any] = {"op": "peers", "target": "gpu", "services": ["web"], "enter": [], "leave": []}
            asked |= {"rest": [], "drain": [], way: [machine]}
            request = {
                "root": PATH,
                "header": {"who": "fault test", "version": "", "project": "fleet", "take_over": ""},
                "name": "fleet",
                "platform": "supervisord",
                "prefix": "fleet-",
                "ports": [],
                "recover": False,
                "peers": asked,
                "kill": kill.request({}),
            }
            ran = host.exec(["python3", "-I", _ON_HOST, "try"], stdin=json.dumps(request), timeout=120)
            assert json.loads(ran.stdout)["killed"], kill
            if number % 3 == 0:  # nobody comes, so the keeper ends it
                until(lambda: not _is_open(fleet), f"it is ended: {kill}", 60)
            (outcome, _) = fleet.up()
            assert outcome.plan.unchanged
            assert fleet.places() == places, kill
    assert met["requests"]


def test_a_machine_that_is_to_be_given_back_ends_what_it_has_begun(fleet: Fleet) -> None:
    fleet.declare("1", drain="30s")
    fleet.up("edge")
    fleet.up()
    first, second = fleet.machines
    with visitors(fleet, streams=4, seconds=3.0):  # type: ignore[arg-type]
        forget(fleet.deployment(), fleet.deployment().hosts[:1])
        said = [str(each.get("detail")) for each in fleet.events]
        fleet.kill(first, "supervisord", "haproxy", "python3")  # as who is destroyed
    assert fleet.peers() == {second.address: True}
    assert any("requests left" in each for each in said)


class _Ends(list[dict[str, Any]]):
    """Ends the front's host at the first event of a kind."""

    def __init__(self, fleet: Fleet, kind: str) -> None:
        self._fleet, self._kind, self._over = fleet, kind, False

    def append(self, event: dict[str, Any]) -> None:
        if event["event"] == self._kind and not self._over:
            self._over = True
            self._fleet.host.stop()
        super().append(event)


def _led_to(fleet: Fleet) -> dict[str, set[str]]:
    """By address, the services that requests come there for."""
    return {each["address"]: set(each["ports"]) for each in fleet.places().values() if each["takes"]}


def _is_open(fleet: Fleet) -> bool:
    return fleet.host.exec(["test", "-e", f"{PATH}/.deploy/journal"], check=False).returncode == 0


def _version(fleet: Fleet) -> str:
    asked = fleet.host.exec(["curl", "-s", "-m", "30", f"http://127.0.0.1:{PORT}/"], check=False).stdout
    return str(json.loads(asked)["version"]) if asked.startswith("{") else ""
