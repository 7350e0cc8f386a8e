"""Killed at every call that changes anything, one after the other; and at any time at all."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import pytest

from tests.faults.trial import Kill, Trial

pytestmark = pytest.mark.root

_NEVER = 65535  # strace counts no further
_RANDOM_SEED = int(os.environ.get("FAULTS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)


def _outcome(trial: Trial, seen: dict[str, Any], old: str, new: str) -> str:
    """Which version has to serve, from what the killed worker had written down."""
    left = seen["broken"]
    committed = "commit" in (left["journal"] or ()) or trial.releases[left["state"]["channels"]["stable"]] == new
    return new if committed else old


def _judge(trial: Trial, seen: dict[str, Any], old: str, new: str, where: str, provable: set[str]) -> None:
    meant = _outcome(trial, seen, old, new)
    try:
        # The link moves after the proof and its record, never before.
        trial.assert_safe(seen["broken"], proven={meant, old} & provable)
        trial.assert_whole(seen["after"], meant)
    except AssertionError as error:
        raise AssertionError(f"{where}: {seen['call']}\nit had left {seen['broken']['journal']}\n{error}") from None


def _calls(trial: Trial, mark: str) -> int:
    """The number of the first call of the last try that says `mark`."""
    record = trial.world.host.read(f"{trial.world.path}.strace").decode(errors="replace").splitlines()
    return next(number for number, call in enumerate(record, 1) if mark in call)


@pytest.mark.slow
def test_killed_at_every_call_of_a_transaction(trial: Trial) -> None:
    when = 0
    while True:
        when += 1
        old, new = trial.version, trial.other
        seen = trial.kill(new, Kill(when=when).request({}))
        _judge(trial, seen, old, new, f"call {when}, {old} to {new}", {"1", "2"})
        if not seen["killed"]:
            break
    assert seen["events"][-1].get("outcome") == "committed", seen["events"][-1]


@pytest.mark.slow
def test_killed_at_every_call_of_the_way_back(trial: Trial) -> None:
    old, new = trial.version, trial.other
    trial.fail(new)
    try:
        trial.kill(new, Kill(when=_NEVER).request({}))
        when = _calls(trial, '\\"undo\\"') - 5  # the calls before are those of the test above
        while True:
            seen = trial.kill(new, Kill(when=when).request({}))
            _judge(trial, seen, old, new, f"call {when}, {old} to {new} and back", {old})
            if not seen["killed"]:
                break
            when += 1
    finally:
        trial.fail(new, really=False)
    assert seen["events"][-1].get("kind") == "put back", seen["events"][-1]


@pytest.mark.slow
@pytest.mark.parametrize("left", [("write", 2, "{private}/journal"), ("?unlink,?unlinkat", 1, "{private}/reserve")])
def test_killed_at_every_call_of_the_recovery(trial: Trial, left: tuple[str, int, str]) -> None:
    when = 0
    while True:
        when += 1
        old, new = trial.version, trial.other
        kill = Kill(left[0], left[1], (left[2],)).request(trial.place())
        seen = trial.kill(new, kill, Kill(when=when).request({}))
        assert seen["killed"]
        trial.assert_safe(seen["broken again"], proven={"1", "2"})
        seen["call"] = seen["recovery"]["call"]
        _judge(trial, seen, old, new, f"call {when} of the recovery, {old} to {new}", {"1", "2"})
        if not seen["recovery"]["killed"]:
            break
    assert when > 20, "a recovery makes more calls than that"


@pytest.mark.parametrize("times", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_random_times(trial: Trial, times: int) -> None:
    print(f"FAULTS_SEED={_RANDOM_SEED}")  # noqa: T201
    dice = random.Random(_RANDOM_SEED)
    began = time.monotonic()
    trial.kill(trial.other, {"after": 60.0})
    seconds = time.monotonic() - began
    for number in range(times):
        old, new = trial.version, trial.other
        after = dice.uniform(0, seconds)
        seen = trial.kill(new, {"after": after})
        _judge(trial, seen, old, new, f"kill {number} of seed {_RANDOM_SEED}, after {after:.3f} s", {"1", "2"})
