"""Killed at every call that changes anything, one after the other; and at any time at all."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.faults.trial import Kill, Trial

pytestmark = pytest.mark.root

LEFT = {
    "in the middle": Kill("write", 2, ("{private}/journal",)),
    "after the proof": Kill("?unlink,?unlinkat", 1, ("{private}/reserve",)),
}
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


def _calls(trial: Trial) -> list[str]:
    """The calls of the last try that was traced, as strace writes them."""
    return trial.world.host.read(f"/var/tmp/{trial.world.name}.strace").decode(errors="replace").splitlines()


def _counted(trial: Trial, calls: list[str]) -> Counter[str]:
    """How often each was made. On an engine, the requests to it alone: the rest is what runs on every platform."""
    counted = Counter(call.partition("(")[0] for call in calls)
    return Counter(connect=counted["connect"]) if trial.world.platform == "docker" else counted


def _at_every(
    calls: Mapping[str, int], attempt: Callable[[Kill], bool], after: Mapping[str, int] | None = None
) -> None:
    """Attempt with a kill at the first call of each name, at its second, and so on until it was not reached.

    strace counts each name for itself, so that one number for all of them would leave most calls out.

    Args:
        calls: how many there were when nothing was killed; how often something is polled differs from time to time.
        after: how many of them to leave out.
    """
    killed = 0
    for name in calls:
        for when in itertools.count(1 + (after or {}).get(name, 0)):
            if not attempt(Kill(name, when)):
                break
            killed += 1
    print(f"killed {killed} times")  # noqa: T201
    assert killed > 0.8 * (sum(calls.values()) - sum((after or {}).values()))


@pytest.mark.slow
@pytest.mark.parametrize("new", ["2", "1"])
def test_killed_at_every_call_of_a_transaction(trial: Trial, new: str) -> None:
    old = {"1": "2", "2": "1"}[new]

    def attempt(kill: Kill) -> bool:
        trial.go(old)
        seen = trial.kill(new, kill.request({}))
        _judge(trial, seen, old, new, f"{kill}, {old} to {new}", {"1", "2"})
        return bool(seen["killed"])

    trial.go(old)
    trial.kill(new, Kill(when=_NEVER).request({}))
    _at_every(_counted(trial, _calls(trial)), attempt)


@pytest.mark.slow
def test_killed_at_every_call_of_the_way_back(trial: Trial) -> None:
    old, new = trial.version, trial.other

    def attempt(kill: Kill) -> bool:
        seen = trial.kill(new, kill.request({}))
        _judge(trial, seen, old, new, f"{kill}, {old} to {new} and back", {old})
        return bool(seen["killed"])

    trial.fail(new)
    try:
        trial.kill(new, Kill(when=_NEVER).request({}))
        calls = _calls(trial)
        forward = next(number for number, call in enumerate(calls) if '\\"undo\\"' in call)
        _at_every(_counted(trial, calls), attempt, after=_counted(trial, calls[:forward]))
    finally:
        trial.fail(new, really=False)


@pytest.mark.slow
@pytest.mark.parametrize("left", LEFT)
def test_killed_at_every_call_of_the_recovery(trial: Trial, left: str) -> None:
    old, new = "1", "2"

    def attempt(kill: Kill) -> bool:
        trial.go(old)
        seen = trial.kill(new, LEFT[left].request(trial.place()), kill.request({}))
        assert seen["killed"]
        trial.assert_safe(seen["broken again"], proven={"1", "2"})
        seen["call"] = seen["recovery"]["call"]
        _judge(trial, seen, old, new, f"{kill} of the recovery, {old} to {new}", {"1", "2"})
        return bool(seen["recovery"]["killed"])

    attempt(Kill(when=_NEVER))
    _at_every(_counted(trial, _calls(trial)), attempt)


@pytest.mark.slow
def test_killed_at_every_call_of_a_stop(trial: Trial) -> None:
    program = trial.world.program("task")
    asked = {"channel": "stable", "release": "", "programs": [program]}

    def attempt(kill: Kill) -> bool:
        seen = trial.kill("1", kill.request({}), asked={**asked, "kind": "stop"})
        left, after = seen["broken"], seen["after"]
        is_stopped = "commit" in (left["journal"] or ()) or bool(left["state"]["programs"][program].get("stopped"))
        where = f"{kill}: {seen['call']}\nit had left {left['journal']}"
        trial.assert_safe(left, proven={"1"})
        assert ("task 1" in after["running"]) is not is_stopped, where
        assert bool(after["state"]["programs"][program].get("stopped")) is is_stopped, where
        assert (after["journal"], after["litter"]) == (None, []), where
        if is_stopped:
            after = trial.kill("1", {"after": 60.0}, asked={**asked, "kind": "start"})["after"]
        trial.assert_whole(after, "1")
        return bool(seen["killed"])

    trial.go("1")
    attempt(Kill(when=_NEVER))
    trial.kill("1", Kill(when=_NEVER).request({}), asked={**asked, "kind": "stop"})
    calls = _counted(trial, _calls(trial))
    trial.kill("1", {"after": 60.0}, asked={**asked, "kind": "start"})
    _at_every(calls, attempt)


@pytest.mark.slow
def test_killed_at_every_call_around_a_command_that_runs_once(trial: Trial) -> None:
    if trial.world.platform == "docker":
        pytest.skip("nothing runs once in containers")
    old, new = "1", "2"
    once = {"runner": "", "again": ["migrate"], "done": [], "secrets": {}}

    def attempt(kill: Kill) -> int:
        trial.go(old)
        before = len(trial.did())
        seen = trial.kill(new, kill.request({}), asked={"kind": "up", "once": once})
        _judge(trial, seen, old, new, f"{kill}, {old} to {new}", {"1", "2"})
        did = trial.did()[before:]
        where = f"{kill}: {seen['call']}\nit had left {seen['broken']['journal']}"
        if _outcome(trial, seen, old, new) == new:
            assert did == ["up"], where
        else:  # `down` alone: it was cut before it had done anything, which nobody can know
            assert did in ([], ["up", "down"], ["down"]), where
        return int(seen["killed"])

    trial.go(old)
    trial.kill(new, Kill(when=_NEVER).request({}), asked={"kind": "up", "once": once})
    calls = _calls(trial)
    first = next(number for number, call in enumerate(calls) if '\\"once\\"' in call)
    last = next(number for number, call in enumerate(calls) if '\\"once-ended\\"' in call)
    before, between = _counted(trial, calls[:first]), _counted(trial, calls[first : last + 3])
    kills = [Kill(name, before[name] + one) for name, count in between.items() for one in range(1, count + 1)]
    killed = sum(map(attempt, kills))
    print(f"killed {killed} times")  # noqa: T201
    assert killed == len(kills)


@pytest.mark.parametrize("times", [3, pytest.param(100, marks=pytest.mark.slow)])
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
