"""Rollouts that go on by themselves: on the host, step by step, by what users see, with no laptop there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provision.errors import Refused
from tests.deploy import rolling
from tests.deploy.visitors import behind_a_front, crowd
from tests.deploy.world import World, web
from tests.faults.hooks import until
from tests.testbed.fixtures import MakeHost, Place
from tests.testbed.kinds import Kind


@pytest.fixture
def platform() -> str:
    return "supervisord"  # who takes the steps is the same everywhere, but for how it is started: the first test


@pytest.fixture
def world(world: World) -> Iterator[World]:
    yield from behind_a_front(world)


def with_canary(world: World, **canary: str) -> None:
    """Version 1 serves, and version 2 is a canary."""
    world.web("1")
    world.up()
    world.web("2", env={"VERSION": "2", **canary})
    world.up("canary")


def notes(world: World) -> list[tuple[str, str]]:
    """What the history says of rollouts: which step, and what status it had then."""
    entries = world.status().project["history"]
    return [(f"{each['rollout']['step'] + 1}", each["rollout"]["status"]) for each in entries if "rollout" in each]


@pytest.mark.parametrize("platform", ["supervisord", pytest.param("systemd", marks=pytest.mark.slow)])
def test_an_equal_canary_is_promoted_and_one_that_fails_is_aborted_with_nobody_there(world: World) -> None:
    with_canary(world)
    pid = world.pid("web", "2")

    with crowd(world) as met:
        rolling.begin(world, rolling.document(0.2, 0.5, each=1.5, errors=0.05))
        with pytest.raises(Refused, match="a rollout of release"):
            rolling.up(world, "stable")
        with pytest.raises(Refused, match="a rollout of release"):
            rolling.weigh(world, 0.9)
        assert rolling.ended(world)["status"] == "promoted"
        assert world.version == "2"
    assert met["errors"] == 0
    assert world.pid("web", "2") == pid
    assert set(world.state()["channels"]) == {"stable"}
    assert notes(world) == [("1", "running"), ("2", "running"), ("2", "promoted")]
    findings = world.status().project["history"][-1]["rollout"]["findings"]
    assert [(each["service"], each["limit"], each["verdict"]) for each in findings] == [("web", "errors", "fine")]

    world.web("3", env={"VERSION": "3", "ERRORS": "0.5"})
    world.up("canary")
    with crowd(world):
        rolling.begin(world, rolling.document(0.5, each=30, errors=0.05))
        ended = rolling.ended(world)
        assert (ended["status"], world.version) == ("aborted", "2")
        assert "of the canary's requests failed" in ended["why"]
        assert rolling.traffic(world)["services"]["web"]["lanes"]["canary"]["share"] == 0.0
    assert world.state()["channels"].keys() == {"stable", "canary"}
    assert world.state()["shares"] == {"canary": 0.0}
    assert notes(world)[-1] == ("1", "aborted")


@pytest.mark.slow
def test_somebody_pauses_resumes_and_ends_it(world: World) -> None:
    with_canary(world)
    rolling.begin(world, rolling.document(0.1, 0.5, each=4.0))

    rolling.steer(world, "pause")
    time.sleep(5)
    told = rolling.traffic(world)["rollout"]
    assert told
    assert told["record"]["status"] == "paused"
    assert told["seconds"] < 4
    assert rolling.steer(world, "pause")["outcome"] == "unchanged"
    rolling.steer(world, "resume")
    until(lambda: rolling.record(world)["step"] == 1, "the next step")
    assert rolling.steer(world, "abort")["shares"] == {"canary": 0.0}

    rolling.begin(world, rolling.document(0.1, each=600.0))
    assert rolling.steer(world, "promote")["outcome"] == "committed"
    assert world.version == "2"
    assert rolling.record(world)["status"] == "promoted"


@pytest.mark.slow
def test_a_rollback_waits_for_no_rollout_and_ends_it(world: World) -> None:
    world.web("0")
    world.up()
    with_canary(world)
    rolling.begin(world, rolling.document(0.1, each=600.0))

    world.rollback()
    assert world.version == "0"
    assert rolling.record(world)["status"] == "aborted"
    assert world.state()["shares"] == {"canary": 0.0}


@pytest.mark.slow
def test_an_up_that_says_so_ends_it(world: World) -> None:
    with_canary(world)
    rolling.begin(world, rolling.document(0.1, each=600.0))
    world.web("3")
    with pytest.raises(Refused, match="is under way here"):
        world.up()

    assert rolling.up(world, "stable", abort_rollout=True)["outcome"] == "committed"
    world.up()
    assert world.version == "3"
    assert rolling.record(world)["status"] == "aborted"


@pytest.mark.slow
def test_a_target_that_requires_evidence_is_left_to_who_has_the_key(world: World) -> None:
    with_canary(world)
    rolling.begin(world, rolling.document(0.1, 0.3, each=1.0), evidence=True)

    assert rolling.ended(world)["status"] == "passed"
    assert world.state()["shares"] == {"canary": 0.3}
    with pytest.raises(Refused, match="requires evidence"):
        rolling.steer(world, "promote")
    world.promote()
    assert rolling.record(world)["status"] == "promoted"


@pytest.mark.slow
@pytest.mark.parametrize(("undecided", "status"), [("hold", "held"), ("abort", "aborted"), ("promote", "promoted")])
def test_with_nobody_there_it_waits_says_so_and_does_what_is_declared(
    world: World, undecided: str, status: str
) -> None:
    with_canary(world)
    rolling.begin(world, rolling.document(0.5, each=1.0, at_most=6.0, undecided=undecided, errors=0.02))

    time.sleep(2.5)
    told = rolling.traffic(world)["rollout"]
    assert told
    assert "the canary had 0 requests" in told["says"]
    assert rolling.ended(world)["status"] == status
    if status == "held":
        rolling.steer(world, "resume")
        assert rolling.ended(world)["status"] == "held"
        rolling.steer(world, "promote")
    assert world.version == ("1" if status == "aborted" else "2")


@pytest.mark.slow
def test_a_canary_that_cannot_be_promoted_is_held_and_says_why(world: World) -> None:
    """What is promoted runs and is proven; so it takes a check of the whole project to fail."""
    world.web("1")
    world.up()
    gate = f"{world.path}/shared/gate"
    world.declare(
        {"web": web(world.port, "2"), "other": web(world.port + 3, "2")},
        **{"checks.gate": {"command": ["test", "!", "-e", gate], "timeout": "1s"}},
    )
    world.up("canary")
    world.host.exec(["touch", gate])
    rolling.begin(world, rolling.document(0.5, each=1.0))

    assert rolling.ended(world)["status"] == "held"
    assert "could not be promoted" in rolling.record(world)["why"]
    assert world.version == "1"
    world.host.exec(["rm", gate])
    rolling.steer(world, "promote")
    assert world.version == "2"


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["keeper", "traffic"])
def test_it_goes_on_where_somebody_was_killed(world: World, killed: str) -> None:
    with_canary(world)
    rolling.begin(world, rolling.document(0.1, 0.3, 0.5, each=3.0))

    for step in range(3):
        until(lambda step=step: rolling.record(world)["step"] >= step, "the step")
        pid = world.pid(killed)
        world.host.kill(pid)
        until(lambda pid=pid: world.pid(killed) not in (0, pid), "it is back")
    assert rolling.ended(world)["status"] == "promoted"
    assert world.version == "2"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Kind.SYSTEMD, Kind.SUPERVISORD])
def test_a_host_that_reboots_in_the_middle_of_a_step_goes_on_with_it(
    make_host: MakeHost, kind: Kind, place: Place, tmp_path: Path
) -> None:
    host = make_host(kind)
    world = World(tmp_path / "rebooted", host, kind.value, place.path, place.port(), place.name, target={"traffic": {}})
    with_canary(world)
    with crowd(world):
        rolling.begin(world, rolling.document(0.3, 0.6, each=15.0, errors=0.05))
        until(lambda: (told := rolling.traffic(world)["rollout"]) and told["seconds"] > 7, "the middle of the step")

    host.reboot()
    until(lambda: world.answers(), "requests are answered", 60)
    told = rolling.traffic(world)["rollout"]
    assert told
    assert (told["record"]["status"], told["record"]["step"]) == ("running", 0)
    assert 1 < told["seconds"] < 15
    assert rolling.traffic(world)["services"]["web"]["lanes"]["canary"]["share"] == 0.3
    with crowd(world) as met:
        assert rolling.ended(world, 120)["status"] == "promoted"
    assert met["errors"] == 0
    assert world.version == "2"
    world.down()


CASES: dict[str, tuple[dict[str, str], str]] = {
    "equal": ({}, "promoted"),
    "5 % errors": ({"ERRORS": "0.05"}, "aborted"),
    "twice the time": ({"SLOW": "0.04"}, "aborted"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_of_ten_real_ones_each_ends_as_it_should(world: World, case: str) -> None:
    """Answers take 20 ms; 5 % errors are beyond the limit of 1 %."""
    env, status = CASES[case]
    ends: list[Any] = []
    for number in range(10):
        world.web("1", env={"VERSION": "1", "SLOW": "0.02"})
        world.up()
        world.web("2", env={"VERSION": f"2.{number}", "SLOW": "0.02", **env})
        world.up("canary")
        with crowd(world, threads=8, pause=0.0):
            rolling.begin(world, rolling.document(0.5, each=2.0, at_most=90.0, errors=0.01, slower=0.5))
            record = rolling.ended(world, 120)
        ends.append((record["status"], record["why"]))
        (errors, *_) = world.status().project["history"][-1]["rollout"]["findings"]
        asked = int(errors["says"].partition(" of ")[2].partition(")")[0])
        print(rolling.line(case, record, asked))  # noqa: T201  for the table of benchmarks/README.md

    assert [each for each, _ in ends] == [status] * 10, ends
