"""Which transactions are of weights alone, and which the keeper has begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...contract.records import Begin

WEIGH = "weigh"  # a share by hand
ROLLOUT = "rollout"  # a step of a rollout, or what somebody asked of it
PEERS = "peers"  # which machines answer behind this host's front
OF_WEIGHTS = (WEIGH, ROLLOUT, PEERS)  # they change who gets how much, and no program


def is_keepers(begin: Begin) -> bool:
    """Whether the keeper ends it, where it was cut: it changes no program, or nobody else began it."""
    return begin["kind"] in OF_WEIGHTS or begin.get("by_keeper", False)
