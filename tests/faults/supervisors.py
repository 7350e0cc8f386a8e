"""A supervisor that is killed at a step of a transaction, and what must be true then."""

from __future__ import annotations

from typing import Any

from tests.faults.trial import Kill, Trial
from tests.testbed.docker import START_ENGINE

# systemd itself can't be killed on a machine, only made to start anew; it starts an engine again after two seconds.
KILLED = {
    "supervisord": "kill -9 $(cat /run/supervisord.pid)",
    "systemd": "systemctl daemon-reexec",
    "docker": f"kill -9 $(cat /run/docker.pid); (sleep 2; {START_ENGINE}) >/dev/null 2>&1 &",
}


def killed_at(trial: Trial, step: Kill) -> dict[str, Any]:
    """Go to the other version, with a supervisor that is killed at that step; what is there when that has ended."""
    kill = {**step.request(trial.place()), "then": KILLED[trial.world.platform]}
    return trial.kill(trial.other, kill, recover=False)


def judge(trial: Trial, seen: dict[str, Any], proven: set[str]) -> None:
    """Whole, or degraded; never with what was not proven. And whole after one `deploy unlock` or `up`."""
    left = seen["broken"]
    said = seen["events"][-1]
    print(said.get("kind") or said.get("outcome"), left["journal"], left["running"])  # noqa: T201
    try:
        assert trial.releases[left["stable"]] in proven
        assert {program.split()[1] for program in left["running"]} <= {*proven, "0"}
        if left["journal"] is not None:
            assert left["journal"][-1] == "degraded"
            assert said["kind"] == "degraded"
        trial.mend()
        seen = trial.look()
        # The one that nobody touched lives as long as its supervisor.
        trial.model_pid = seen["answers"][str(trial.world.port + 1)][2]
        trial.assert_whole(seen, trial.version)
    except (AssertionError, IndexError) as error:
        raise AssertionError(f"{said}\nit had left {left['journal']}, {left['running']}\n{error}") from None
