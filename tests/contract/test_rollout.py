"""What becomes of a rollout's record, whoever changes it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from provision.contract import rollout, shared
from provision.contract.failure import FORMAT_OF_SHARES, FORMAT_OF_TRAFFIC, FORMAT_OF_TURNS, Failure
from provision.contract.rollout import RolloutAsked, RolloutRecord
from provision.contract.state import Program, State, from_dict

ASKED: RolloutAsked = {
    "document": {"steps": [0.05, 0.5], "each": 60.0, "at_most": 600.0, "undecided": "hold", "abort": {"errors": 0.02}},
    "evidence": False,
}
NEW, OLD, OTHER = "n" * 64, "o" * 64, "x" * 64


def record(**changes: Any) -> RolloutRecord:
    begun = rollout.dated(rollout.begun(ASKED, "t1", NEW, "ann", keep=3), 1000.0)
    return cast("RolloutRecord", {**begun, **changes})


def state(rolled: RolloutRecord | None = None, **shares: float) -> State:
    front = Program("traffic", "stable", "", OLD, "1-a", "f")
    channels = {"stable": OLD, "canary": NEW}
    return State(channels=channels, programs={"traffic": front}, shares=shares, rollout=rolled or record())


def test_its_step_begins_when_it_is_committed_and_counts_no_pause() -> None:
    begun = rollout.begun(ASKED, "t1", NEW, "ann", keep=3)
    dated = rollout.dated(begun, 1000.0)
    paused = rollout.turned(dated, rollout.PAUSED, "", 1030.0)
    on = rollout.turned(paused, rollout.RUNNING, "", 1100.0)

    assert rollout.seconds(dated, 1020.0) == 20
    assert rollout.seconds(paused, 5000.0) == 30
    assert rollout.seconds(on, 1110.0) == 40
    assert rollout.dated(on, 2000.0) == on
    following = rollout.dated(rollout.advanced(on, "fine"), 1200.0)
    assert (following["step"], rollout.share(following), rollout.seconds(following, 1210.0)) == (1, 0.5, 10)


@pytest.mark.parametrize(
    ("status", "action", "then"),
    [
        ("running", "pause", "paused"),
        ("running", "resume", None),
        ("running", "abort", "aborted"),
        ("paused", "pause", None),
        ("paused", "resume", "running"),
        ("held", "resume", "running"),
        ("held", "pause", "clock stands still"),
        ("held", "abort", "aborted"),
        ("passed", "resume", "has passed all"),
        ("passed", "abort", "aborted"),
        ("promoted", "abort", "no rollout is under way"),
        ("aborted", "pause", "no rollout is under way"),
    ],
)
def test_what_somebody_may_ask_for(status: str, action: str, then: str | None) -> None:
    begun = record(status=status)
    if then is None or " " not in then:
        changed = rollout.steered(begun, action, "bob", 1010.0)
        assert (changed and changed["status"]) == then
        assert changed is None or "by bob" in changed["why"]
    else:
        with pytest.raises(Failure, match=then):
            rollout.steered(begun, action, "bob", 1010.0)


def test_one_that_is_paused_before_its_step_has_a_time_keeps_its_share_and_goes_on() -> None:
    paused = rollout.steered(rollout.begun(ASKED, "t1", NEW, "ann", keep=3), "pause", "bob", 1010.0)

    assert paused
    assert rollout.share(paused) == 0.05
    resumed = rollout.steered(paused, "resume", "bob", 1020.0)
    assert resumed
    assert resumed["status"] == "running"


def test_a_step_that_was_held_begins_anew_when_somebody_resumes_it() -> None:
    resumed = rollout.steered(record(status="held"), "resume", "bob", 5000.0)

    assert resumed
    assert rollout.seconds(rollout.dated(resumed, 5000.0), 5001.0) == 1


@pytest.mark.parametrize(
    ("channel", "release", "asked", "given", "aborts", "refused"),
    [
        ("stable", OTHER, None, None, False, True),
        ("stable", OTHER, None, None, True, False),
        ("canary", OTHER, ASKED, None, False, True),
        ("canary", NEW, ASKED, None, False, False),
        ("canary", NEW, None, None, False, False),
        ("canary", NEW, None, 0.1, False, True),
        ("canary", NEW, {**ASKED, "evidence": True}, None, False, True),
    ],
)
def test_an_up_meanwhile_is_refused_unless_it_is_the_same_again_or_says_to_end_it(
    channel: str, release: str, asked: RolloutAsked | None, given: float | None, aborts: bool, refused: bool
) -> None:
    def ask(status: str = "running") -> None:
        shared.demand_free(record(status=status), "up", channel, release, asked, given, aborts=aborts)

    if refused:
        with pytest.raises(Failure, match=r"a rollout of release nnnnnnnnnnnn is under way here \(held, step 1 of 2\)"):
            ask("held")
    else:
        ask()
    ask("aborted")
    shared.demand_free(record(), "rollback", "stable", "", None, None, aborts=False)


@pytest.mark.parametrize(
    ("kind", "channels", "aborts", "status", "shares"),
    [
        ("promote", {"stable": NEW}, False, "promoted", {}),
        ("rollback", {"stable": OTHER, "canary": NEW}, False, "aborted", {"canary": 0.0}),
        ("down", {"stable": OLD}, False, "aborted", {}),
        ("up", {"stable": OTHER, "canary": NEW}, True, "aborted", {"canary": 0.0}),
        ("up", {"stable": OLD, "canary": OTHER}, True, "aborted", {}),
        ("up", {"stable": OLD, "canary": NEW}, False, "running", {"canary": 0.05}),
        ("restart", {"stable": OLD, "canary": NEW}, False, "running", {"canary": 0.05}),
    ],
)
def test_what_a_transaction_makes_of_it(
    kind: str, channels: dict[str, str], aborts: bool, status: str, shares: dict[str, float]
) -> None:
    changed = shared.after(state(canary=0.05), kind, channels, "bob", 1010.0, aborts=aborts)

    assert changed.rollout
    assert (changed.rollout["status"], changed.shares) == (status, shares)


def test_a_rollout_begins_with_its_first_share_and_a_share_by_hand_belongs_to_one_release() -> None:
    nothing = State(channels={"stable": OLD})
    with_canary = {"stable": OLD, "canary": NEW}

    begun = shared.after(nothing, "up", with_canary, "ann", 1.0, begins=record())
    assert (begun.shares, begun.rollout) == ({"canary": 0.05}, record())
    given = shared.after(nothing, "up", with_canary, "ann", 1.0, given=0.2)
    assert (given.shares, given.rollout) == ({"canary": 0.2}, None)
    weighed = nothing._replace(channels=with_canary, shares=given.shares)
    assert shared.after(weighed, "up", {**with_canary, "stable": OTHER}, "ann", 1.0).shares == {"canary": 0.2}
    assert shared.after(weighed, "up", {**with_canary, "canary": OTHER}, "ann", 1.0).shares == {}


def test_the_last_one_is_remembered_while_its_release_is_here() -> None:
    ended = state(record(status="promoted"))

    assert shared.after(ended, "up", {"stable": NEW}, "ann", 1.0).rollout
    assert shared.after(ended, "up", {"stable": OTHER}, "ann", 1.0).rollout is None


def waiting(**changes: Any) -> RolloutRecord:
    """One that waits for other hosts, as it is committed."""
    asked: RolloutAsked = {**ASKED, "waits_for": ["a", "b", "c", "d"]}
    return cast("RolloutRecord", {**rollout.dated(rollout.begun(asked, "t1", NEW, "ann", keep=3), 1000.0), **changes})


def test_one_that_waits_for_other_hosts_has_no_share_and_no_clock_until_it_begins() -> None:
    waits = waiting()
    assert (waits["status"], waits["why"], waits["since"]) == ("waiting", "waits for a, b, c and 1 more", 1000.0)
    assert (rollout.share(waits), rollout.seconds(waits, 5000.0)) == (0.0, 0.0)
    assert shared.after(state(), "up", {"stable": OLD, "canary": OTHER}, "ann", 1.0, begins=waits).shares == {
        "canary": 0.0
    }

    on = rollout.steered(waits, "begin", "bob", 2000.0)
    assert on is not None
    assert (on["status"], rollout.share(on)) == ("running", 0.05)
    assert rollout.seconds(rollout.dated(on, 2000.0), 2010.0) == 10
    assert rollout.steered(on, "begin", "eve", 2001.0) is None


@pytest.mark.parametrize(
    ("status", "action", "then"),
    [
        ("waiting", "resume", None),
        ("waiting", "pause", "paused"),
        ("waiting", "abort", "aborted"),
        ("paused", "begin", None),
        ("paused", "resume", "waiting"),
        ("aborted", "begin", "no rollout is under way"),
    ],
)
def test_what_somebody_may_ask_of_one_that_waits(status: str, action: str, then: str | None) -> None:
    if then is None or " " not in then:
        changed = rollout.steered(waiting(status=status), action, "bob", 2000.0, "because.")
        assert (changed and changed["status"]) == then
        assert changed is None or rollout.share(changed) == 0.0
        assert then != "aborted" or (changed and changed["why"] == "because.")
    else:
        with pytest.raises(Failure, match=then):
            rollout.steered(waiting(status=status), action, "bob", 2000.0)


def test_earlier_versions_which_have_no_word_for_waiting_refuse_such_a_state() -> None:
    assert state(waiting(), canary=0.0).as_dict()["format"] == FORMAT_OF_TURNS
    assert state(waiting(status="paused"), canary=0.0).as_dict()["format"] == FORMAT_OF_TURNS
    assert state(waiting(status="aborted"), canary=0.0).as_dict()["format"] == FORMAT_OF_SHARES
    assert from_dict(state(waiting()).as_dict()) == state(waiting())


def test_it_is_written_down_so_that_earlier_versions_do_not_give_a_share_back() -> None:
    assert state().as_dict()["format"] == FORMAT_OF_SHARES
    assert state(record(status="promoted")).as_dict()["format"] == FORMAT_OF_TRAFFIC
    assert state(record(status="aborted"), canary=0.0).as_dict()["format"] == FORMAT_OF_SHARES
    assert from_dict(state(canary=0.05).as_dict()) == state(canary=0.05)
