"""What `up` moves to a host, for how long, and what has to be free there: as a plan says it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.contract.host_view import HostView
from provision.contract.layout import SHIPPED
from provision.contract.slots import services_of
from provision.contract.steps import Do, How
from provision.plan import Moves

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from provision.contract.facts import ProjectFacts
    from provision.contract.release import Needs, ReleaseDocument
    from provision.plan import Content, Plan


def moves(plan: Plan, facts: ProjectFacts, document: ReleaseDocument) -> Moves | None:
    """What a plan for `up` brings; None where that is files alone.

    Args:
        facts: of the host, as the plan was made from.
        document: the release's.
    """
    coming = [each for each in plan.contents if not each.is_there and each.bytes]
    if not coming:
        return None  # files alone are few, and said one by one
    view = HostView.of(facts["view"])
    return Moves(
        bytes=sum(each.bytes - each.there for each in coming) + plan.files.bytes,
        seconds=_seconds(coming, facts.get("speeds", {})),
        disk=facts["disk"]["free"],
        memory=_memory(plan, view, document),
        vram=_vram(plan, view, document),
    )


def _seconds(coming: list[Content], speeds: Mapping[str, float]) -> float | None:
    """Files are few beside models, and rsync skips what is there: they do not count."""
    total = 0.0
    for each in coming:
        speed = speeds.get(SHIPPED if each.relayed else each.fetched_from)
        if not speed:
            return None
        total += (each.bytes - each.there) / speed
    return total


def _needs(plan: Plan, document: ReleaseDocument) -> Iterator[Needs]:
    starting = {step.program for step in plan.steps if step.do in (Do.START, Do.RESTART)}
    found = {each["program"]: each["needs"] for lane in document["lanes"] for each in services_of(document, lane)}
    return (found[program] for program in starting & found.keys())


def _memory(plan: Plan, view: HostView, document: ReleaseDocument) -> tuple[int, int] | None:
    needed = sum(each["memory_bytes"] for each in _needs(plan, document))
    leaving = [step.program for step in plan.steps if step.do is Do.REMOVE or _in_place(step.do, step.how)]
    return (needed, view.memory_available + sum(map(view.memory, leaving))) if needed else None


def _in_place(do: Do, how: How) -> bool:
    return do is Do.RESTART and how is not How.BESIDE


def _vram(plan: Plan, view: HostView, document: ReleaseDocument) -> tuple[int, int] | None:
    needed = max((each["vram_bytes"] for each in _needs(plan, document)), default=0)
    most = max((gpu["memory_free"] for gpu in view.gpus or ()), default=view.vram_free or 0)
    return (needed, most) if needed else None
