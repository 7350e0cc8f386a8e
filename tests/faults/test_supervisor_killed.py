"""The supervisor is killed at any step of a transaction, and its programs live on: no release that was never proven
serves, nothing keeps a port, and the host is whole again, at once or after `deploy unlock`.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.test_killed_at_each_step import BACK, COMMITTING, FORWARD
from tests.faults.trial import Kill, Trial
from tests.testbed.docker import START_ENGINE

pytestmark = pytest.mark.root

# systemd itself can't be killed on a machine, only made to start anew; it starts an engine again after two seconds.
KILLED = {
    "supervisord": "kill -9 $(cat /run/supervisord.pid)",
    "systemd": "systemctl daemon-reexec",
    "docker": f"kill -9 $(cat /run/docker.pid); (sleep 2; {START_ENGINE}) >/dev/null 2>&1 &",
}
_MIDDLE = "announcing the next level"


def _killed_at(trial: Trial, step: Kill) -> dict[str, Any]:
    """Go to the other version, with a supervisor that is killed at that step; what is there when that has ended."""
    kill = {**step.request(trial.place()), "then": KILLED[trial.world.platform]}
    return trial.kill(trial.other, kill, recover=False)


def _judge(trial: Trial, seen: dict[str, Any], proven: set[str]) -> None:
    """Whole, or degraded; never with what was not proven. And whole after one `deploy unlock`."""
    left = seen["broken"]
    said = seen["events"][-1]
    try:
        assert trial.releases[left["stable"]] in proven
        assert {program.split()[1] for program in left["running"]} <= {*proven, "0"}
        if left["journal"] is not None:
            assert left["journal"][-1] == "degraded"
            assert said["kind"] == "degraded"
        trial.unlock()
        seen = trial.look()
        # The one that nobody touched lives as long as its supervisor.
        trial.model_pid = seen["answers"][str(trial.world.port + 1)][2]
        trial.assert_whole(seen, trial.version)
    except (AssertionError, IndexError) as error:
        raise AssertionError(f"{said}\nit had left {left['journal']}, {left['running']}\n{error}") from None


@pytest.mark.everywhere
@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=() if step == _MIDDLE else pytest.mark.slow) for step in FORWARD]
)
def test_killed_before_the_proof_is_complete_nothing_unproven_serves(trial: Trial, step: str) -> None:
    """Hole 7: a supervisor that is killed during a deploy."""
    old, new = trial.version, trial.other

    seen = _killed_at(trial, FORWARD[step][0])

    # systemd forgets nothing when it starts anew, so that the new release is proven after all.
    _judge(trial, seen, proven={old, new} if seen["events"][-1].get("outcome") == "committed" else {old})


@pytest.mark.slow
@pytest.mark.parametrize("step", COMMITTING)
def test_killed_after_the_proof_the_new_release_serves_under_it_again(trial: Trial, step: str) -> None:
    """Hole 7: a supervisor that is killed while a deploy is written down."""
    new = trial.other

    seen = _killed_at(trial, COMMITTING[step])

    _judge(trial, seen, proven={new})


@pytest.mark.slow
@pytest.mark.parametrize("step", BACK)
def test_killed_on_the_way_back_the_old_release_serves_under_it_again(trial: Trial, step: str) -> None:
    """Hole 7: a supervisor that is killed while a failed deploy is put back."""
    old, new = trial.version, trial.other
    trial.fail(new)
    try:
        seen = _killed_at(trial, BACK[step])
    finally:
        trial.fail(new, really=False)

    _judge(trial, seen, proven={old})
