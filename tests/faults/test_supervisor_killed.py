"""The supervisor is killed at any step of a transaction, and its programs live on: no release that was never proven
serves, nothing keeps a port, and the host is whole again, at once or after `deploy unlock`.
"""

from __future__ import annotations

import pytest

from tests.faults.supervisors import judge, killed_at
from tests.faults.test_killed_at_each_step import BACK, COMMITTING, FORWARD
from tests.faults.trial import Trial

pytestmark = [pytest.mark.root, pytest.mark.slow]  # one step of them on each platform: test_killed_at_each_step


@pytest.mark.parametrize("step", FORWARD)
def test_killed_before_the_proof_is_complete_nothing_unproven_serves(trial: Trial, step: str) -> None:
    """Hole 7: a supervisor that is killed during a deploy."""
    trial.go("1")
    old, new = "1", "2"

    seen = killed_at(trial, FORWARD[step][0])

    # Killed before anything is disturbed, it is there again in time; and systemd forgets nothing when it starts anew.
    judge(trial, seen, proven={old, new} if seen["events"][-1].get("outcome") == "committed" else {old})


@pytest.mark.parametrize("step", COMMITTING)
def test_killed_after_the_proof_the_new_release_serves_under_it_again(trial: Trial, step: str) -> None:
    """Hole 7: a supervisor that is killed while a deploy is written down."""
    new = trial.other

    seen = killed_at(trial, COMMITTING[step])

    judge(trial, seen, proven={new})


@pytest.mark.parametrize("step", BACK)
def test_killed_on_the_way_back_the_old_release_serves_under_it_again(trial: Trial, step: str) -> None:
    """Hole 7: a supervisor that is killed while a failed deploy is put back."""
    old, new = trial.version, trial.other
    trial.fail(new)
    try:
        seen = killed_at(trial, BACK[step])
    finally:
        trial.fail(new, really=False)

    judge(trial, seen, proven={old})
