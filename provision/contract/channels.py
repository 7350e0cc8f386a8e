"""Which release each channel is to have. Pure; the toolkit plans by it, and a host does by it."""

from __future__ import annotations

from typing import Callable, Container, Dict, Mapping, Optional

from . import on_purpose
from .failure import REFUSED, Failure
from .rollout import is_under_way
from .slots import STABLE
from .state import State


def channels_after(
    kind: str, channel: str, release: str, before: State, project: str, way_back: Callable[[], Optional[str]]
) -> Dict[str, str]:
    """Channel -> release, after a transaction of this kind.

    Args:
        kind: up, promote, rollback or down; restart, start or stop, which move no channel.
        channel: that moves, or of `down` the one that goes; empty for all of them.
        release: that it moves to; of `rollback` empty for the last one.
        project: that deploys; what another one has here does not stay.
        way_back: the release that a rollback without a name means.

    Raises:
        Failure: there is nothing to promote, to go back to, or to start and stop.
    """
    if kind == "up":
        kept = before.channels if before.project in ("", project) else {}
        return {**kept, channel: release}
    if kind == "promote":
        if "canary" not in before.channels:
            raise Failure(
                REFUSED, "there is no canary to promote.", next_step="deploy up --channel canary, then deploy promote"
            )
        return {"stable": before.channels["canary"]}
    if kind == "rollback":
        target = release or way_back()
        if not target:
            judged = is_under_way(before.rollout)
            next_step = "deploy rollout abort, which takes the canary its clients" if judged else "deploy history"
            raise Failure(REFUSED, "there is no earlier release to go back to.", next_step=next_step)
        return {**before.channels, "stable": target}
    if kind == "down":
        return {name: value for name, value in before.channels.items() if channel and name != channel}
    if kind in on_purpose.KINDS:
        if not before.channels:
            raise Failure(REFUSED, f"nothing is deployed here, so there is nothing to {kind}.", next_step="deploy up")
        return dict(before.channels)
    raise Failure(REFUSED, f"unknown kind of transaction {kind!r}")


def demand_there(channels: Mapping[str, str], there: Container[str]) -> None:
    """A release of long ago may have gone, and who was rolled back again and again comes to it.

    Raises:
        Failure: one is not on the host.
    """
    for release in channels.values():
        if release not in there:
            raise Failure(REFUSED, f"release {release[:12]} is not on this host.", next_step="deploy history")


def moved_lane(kind: str, channel: str) -> str:
    """The lane that a transaction brings a release to; empty where it only takes some away."""
    return {"up": channel, "promote": STABLE, "rollback": STABLE}.get(kind, "")
