"""What the guard of a rented machine goes by, and bringing it there.

It is sent times to go, never times of day: neither this machine's clock nor the rented one's has to be right.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from provision.agent.alone import program
from provision.contract.budget import Installed, Sent, Watched
from provision.contract.layout import BUDGET_GUARD
from provision.hosts import HostConnection
from provision.project.hours import Hours
from provision.providers.face import Machine, Own, ProviderFailed
from provision.targets.answers import Misfit, answer
from provision.targets.labels import Label

if TYPE_CHECKING:
    from provision.project.renting import Budget

_MODULES = ("alone/budget", "alone/activity", "trust")
_SECONDS = 120.0  # for all of it


def terms(
    machine: Machine,
    label: Label,
    own: Own,
    budget: Budget,
    *,
    now: float,
    ports: Sequence[int],
    path: str,
    backup: str = "",
) -> Sent:
    """What a machine's guard goes by. Pure but for its nonce.

    Args:
        now: in seconds since 1970, by the provider's clock.
        ports: that are asked for from outside.
        path: of the project there.
        backup: the program there that makes one; empty where none is declared.
    """
    return {
        "nonce": secrets.token_hex(8),
        "key": own.key,
        "stop": own.stop,
        "destroy": own.destroy,
        "share": label.share or 0.0,
        "spent": machine.cost(now),
        "per_hour": machine.per_hour,
        "stopped_per_hour": machine.stopped_per_hour,
        "per_byte_in": machine.per_byte_in,
        "per_byte_out": machine.per_byte_out,
        "idle": budget.idle,
        "when_idle": budget.when_idle,
        "busy": list(budget.busy or ()),
        "ports": list(ports),
        "path": path,
        "backup": backup,
        "seconds": label.ends - now,
        "hours": None if budget.hours is None else _open(budget.hours, now, label.ends),
    }


def _open(hours: Hours, now: float, ends: float) -> list[tuple[float, float]]:
    return [(begin - now, end - now) for begin, end in hours.windows(now, ends)]


def send(connection: HostConnection, python: str, sent: Sent) -> Watched:
    """Bring a machine its guard, and see that it goes by what it is sent.

    Raises:
        ProviderFailed: no guard goes by it.
    """
    document = {"folder": BUDGET_GUARD, "program": program(*_MODULES, call="main()"), "terms": sent}
    done = connection.run(
        [python, "-I", "-c", program(*_MODULES, call="install()")],
        input=json.dumps(document).encode() + b"\n",
        timeout=_SECONDS,
    )
    try:
        said = answer(json.loads(done.stdout), Installed)
    except (ValueError, Misfit):
        said = cast("Installed", {"fault": " ".join(done.stderr.decode("utf-8", "replace").split())[-300:]})
    if "watched" not in said:
        raise ProviderFailed(
            f"no guard holds {connection.name} within its budget.", why=said.get("fault") or "It said nothing."
        )
    return said["watched"]
