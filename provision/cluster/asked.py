"""What a transaction is to do, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from provision.cluster.kept.wanted import Rendered
from provision.cluster.traffic.sharing import Sharing

if TYPE_CHECKING:
    from provision.cluster.kept.inventory import Inventory
    from provision.contract.events import Checked
    from provision.project.schema import Project
    from provision.project.target import Target

Proven = Callable[[Rendered, "list[Checked]"], None]


@dataclass(frozen=True)
class Asked:
    """What a transaction is to do.

    Args:
        kind: up, promote, rollback.
        host: what stands before lines of the output.
        take_over: field managers whose fields are taken.
        sharing: what becomes of the canary's share.
        rests_on: digests of the evidence that allows it.
        proven: told what the checks saw, also of a release that failed.
        secrets: the values that are known here.
    """

    kind: str
    channel: str
    release: Rendered
    project: Project
    target: Target
    host: str
    who: str
    take_over: tuple[str, ...] = ()
    sharing: Sharing = field(default_factory=Sharing)
    rests_on: tuple[str, ...] = ()
    proven: Proven = lambda _release, _checks: None
    secrets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How one ended, and what is known then."""

    outcome: str
    inventory: Inventory
