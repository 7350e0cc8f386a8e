"""Canary, promotion, rollback, removal, history."""

from __future__ import annotations

import pytest

from provision.errors import PutBack, Refused, UsageError
from tests.deploy.world import World, web

pytestmark = pytest.mark.root


def test_a_canary_runs_beside_stable_on_its_own_port(world: World) -> None:
    world.web("1")
    stable = world.up()
    pid = world.pid("web")

    world.web("2")
    outcome = world.up("canary")

    assert outcome.outcome == "committed"
    assert world.version == "1"
    assert world.pid("web") == pid
    assert world.get(port=world.port + 10000)["version"] == "2"
    assert world.state()["channels"] == {"stable": stable.plan.release, "canary": outcome.plan.release}


def test_promote_brings_exactly_the_canary_to_stable_and_retires_it(world: World) -> None:
    world.web("1")
    world.up()
    world.web("2")
    canary = world.up("canary")

    world.web("3")  # what the folder holds by now is of no interest
    outcome = world.promote()

    assert outcome.plan.release == canary.plan.release
    assert world.version == "2"
    assert world.stable == canary.plan.release
    assert not world.answers(world.port + 10000)
    assert world.state()["channels"] == {"stable": canary.plan.release}


def test_nothing_to_promote_is_refused_with_what_to_do(world: World) -> None:
    world.web("1")
    world.up()

    with pytest.raises(Refused, match="no canary to promote"):
        world.promote()


def test_a_canary_that_fails_leaves_stable_alone(world: World) -> None:
    world.web("1")
    world.up()
    pid = world.pid("web")

    world.web("2", env={"FAIL": "exit"})
    with pytest.raises(PutBack):
        world.up("canary")

    assert world.pid("web") == pid
    assert list(world.state()["channels"]) == ["stable"]
    assert not world.exists("canary")


def test_rollback_needs_no_argument_and_never_returns_to_what_was_left(world: World) -> None:
    releases = {}
    for version in "123":
        world.web(version)
        releases[version] = world.up().plan.release

    world.rollback()
    assert world.version == "2"

    world.rollback()
    assert world.version == "1"
    assert world.stable == releases["1"]


def test_rollback_can_name_a_release_by_its_first_letters(world: World) -> None:
    releases = []
    for version in "123":
        world.web(version)
        releases.append(world.up().plan.release)

    world.rollback(releases[0][:8])

    assert world.version == "1"


def test_rollback_to_an_unknown_release_is_refused(world: World) -> None:
    world.web("1")
    world.up()

    with pytest.raises(UsageError, match="no release of this host"):
        world.rollback("ffffffff")


def test_without_an_earlier_release_there_is_nothing_to_go_back_to(world: World) -> None:
    world.web("1")
    world.up()

    with pytest.raises(Refused, match="no earlier release"):
        world.rollback()


def test_the_rollback_target_and_what_runs_are_never_pruned(world: World) -> None:
    world.target["keep"] = 2
    world.declare({"web": web(world.port, "0"), "model": web(world.port + 1, paths=[])})
    first = world.up().plan.release
    for version in "12345":
        world.declare({"web": web(world.port, version), "model": web(world.port + 1, paths=[])})
        last = world.up().plan.release

    kept = world.host.exec(["ls", f"{world.path}/releases"]).stdout.split()

    assert first in kept, "the model server still runs from it"
    assert last in kept
    assert len(kept) == 3
    world.rollback()
    assert world.version == "4"
    with pytest.raises(Refused, match="is not on this host"):  # the one before that has gone
        world.rollback()
    assert world.version == "4"


def test_down_stops_everything_and_keeps_the_files(world: World) -> None:
    world.web("1")
    release = world.up().plan.release

    outcome = world.down()

    assert outcome.outcome == "committed"
    assert not world.answers()
    assert world.stable == ""
    assert world.status().state == "nothing"
    assert world.exists(f"releases/{release}")


def test_down_of_the_canary_leaves_stable(world: World) -> None:
    world.web("1")
    world.up()
    world.web("2")
    world.up("canary")

    world.down("canary")

    assert world.version == "1"
    assert not world.answers(world.port + 10000)


def test_history_tells_who_did_what_in_order(world: World) -> None:
    world.web("1")
    world.up(who="ann@laptop")
    world.web("2")
    world.up(who="bob@laptop")
    world.rollback()

    entries = world.status().project["history"]

    assert [(entry["kind"], entry["who"]) for entry in entries[:2]] == [("up", "ann@laptop"), ("up", "bob@laptop")]
    assert entries[2]["kind"] == "rollback"
    assert [entry["sequence"] for entry in entries] == [1, 2, 3]


def test_a_canary_that_memory_cannot_hold_beside_stable_is_refused(world: World) -> None:
    world.web("1")
    world.up()
    pid = world.pid("web")
    world.web("2", resources={"memory": "900TB"})

    with pytest.raises(Refused, match="MiB of memory are needed"):
        world.up("canary")

    assert world.pid("web") == pid
    assert list(world.state()["channels"]) == ["stable"]
