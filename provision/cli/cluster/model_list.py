"""`deploy model list` on a cluster: the claims that models are fetched into."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from provision.project.units import size

if TYPE_CHECKING:
    from provision.cli.session import Session
    from provision.cluster.claims import ModelClaim


def command(session: Session) -> None:
    from provision.cluster import claims

    there = session.there
    with session.console.live():
        found = claims.of_models(there, there.book.read()) if there.demand_namespace() else []
    tell_each(session, found)
    if not found:
        session.console.note(f"{session.target}: no models")


def tell_each(session: Session, found: list[ModelClaim]) -> None:
    """A claim a line."""
    for each in found:
        line = f"{session.target}: {', '.join(each.models)}, {size(each.bytes)}, in {each.name}, {_use(each)}"
        session.console.answer({"event": "model", "host": session.target, **asdict(each)}, line)


def waits(each: ModelClaim) -> str:
    """For what one that was deleted waits."""
    return f"ends once no pod uses it: {', '.join(each.pods)}" if each.pods else "is ending"


def _use(each: ModelClaim) -> str:
    if each.is_ending:
        return waits(each)
    if each.channels:
        return f"of {' and '.join(each.channels)}"
    if each.releases:
        return f"of {', '.join(each.releases)}, kept to go back to"
    return "of no release" if each.is_ours else "of no release, and not applied by deploy up as far as it knows"
