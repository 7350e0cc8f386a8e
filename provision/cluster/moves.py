"""What changes a cluster: up, promote, rollback, down."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from provision.cluster.asked import Asked, Ended, Proven
from provision.cluster.changing.applying import prune
from provision.cluster.kept.inventory import Begun
from provision.cluster.kept.lease import held
from provision.cluster.kept.wanted import Rendered
from provision.cluster.project_there import ProjectThere
from provision.cluster.server.objects import KEPT
from provision.cluster.traffic.sharing import Sharing, after, note, without_steps
from provision.cluster.traffic.weighing import Weighing
from provision.cluster.transaction import bring
from provision.contract.slots import CANARY, STABLE
from provision.errors import Degraded, DeployError, Refused

if TYPE_CHECKING:
    from provision.cluster.kept.inventory import Inventory
    from provision.contract.events import Checked


def unsigned(_release: Rendered, _checks: list[Checked]) -> None:
    """Nobody signs what the checks saw."""


def up(
    there: ProjectThere,
    channel: str,
    take_over: tuple[str, ...] = (),
    share: float | None = None,
    *,
    aborts: bool = False,
    rests_on: tuple[str, ...] = (),
    proven: Proven = unsigned,
) -> Ended:
    """Bring the project as it is now to `channel`.

    Args:
        share: what the canary is given by hand.
        aborts: whether a rollout that is under way ends.
        rests_on: digests of the evidence that allows it, where the target requires some.
        proven: told what the checks saw.

    Raises as `Transaction.run` does.
    """
    release = there.release
    there.say_what_is_left_out()
    there.demand_namespace(make=True)
    asked = _asked(there, "up", channel, release, take_over)
    asked = replace(asked, rests_on=rests_on, proven=proven, secrets=there.loaded.secrets)
    begins = channel == CANARY and share is None and bool(there.target.rollout.steps)
    steps = there.target.rollout_asked if begins else None
    return bring(there.api, replace(asked, sharing=Sharing(share, steps, aborts)), there.tell)


def weigh(there: ProjectThere, share: float) -> Ended:
    """Give the canary a share of the requests, by hand.

    Raises:
        Refused: there is no canary, nothing could give it that, or a rollout gives it its shares.
    """
    there.demand_namespace()

    def tell(event: dict[str, object]) -> None:
        there.tell({**event, "host": there.name})

    with held(there.api, there.project.name, there.who, tell) as lock:
        before = there.book.read()
        if CANARY not in before.channels:
            raise Refused("there is no canary.", next_step="deploy up --channel canary --weight 5%", host=there.name)
        without_steps(before.rollout)
        weighing = Weighing(there.api, there.book, there.project.name, tell)
        canary = there.book.release(before.channels[CANARY]).lanes[CANARY]
        weighing.demand(share, before.channels.get(STABLE, ""), canary)
        lock.demand()
        if before.shares.get(CANARY) == share:
            return Ended("unchanged", weighing.place(before))
        new = replace(before, shares={**before.shares, CANARY: share})
        return Ended("committed", weighing.place(there.book.write(new.ended("weigh", CANARY, "committed", there.who))))


def promote(
    there: ProjectThere, of: str = "", *, rests_on: tuple[str, ...] = (), proven: Proven = unsigned, only: str = ""
) -> Ended:
    """Bring exactly the canary's release to stable; then the canary ends. Raises as `up` does.

    Args:
        of: the rollout that this ends, and no other.
        rests_on, proven: as of `up`.
        only: the release that was judged; empty where none was.
    """
    there.demand_namespace()
    inventory = there.book.read()
    if "canary" not in inventory.channels:
        raise Refused("there is no canary to promote.", next_step="deploy up --channel canary", host=there.name)
    if only not in ("", inventory.channels["canary"]):
        raise Refused("another release is the canary now.", next_step="deploy promote", host=there.name)
    release = there.book.release(inventory.channels["canary"])
    asked = replace(_asked(there, "promote", "stable", release), rests_on=rests_on, proven=proven)
    bring(there.api, replace(asked, sharing=Sharing(of=of)), there.tell)
    down(there, "canary", kind="promote")
    return Ended("committed", there.book.read())


def earlier(there: ProjectThere, to: str) -> str:
    """The release before stable's, or the one whose id begins with `to`; of a deploy that was cut short, stable's own.

    Raises:
        Refused: there is none, or several.
    """
    there.demand_namespace()
    inventory = there.book.read()
    now = inventory.channels.get("stable", "")
    if not to and now and _is_between(inventory):
        return now
    were = [
        entry.channels["stable"]
        for entry in inventory.history
        if entry.outcome == "committed" and entry.channels.get("stable")
    ]
    past = [id_ for id_ in dict.fromkeys(reversed(were)) if id_ != now]
    found = [id_ for id_ in dict.fromkeys((now, *past)) if id_.startswith(to)] if to else past[:1]
    if len(found) != 1 or not found[0]:
        what = f'"{to}" is the beginning of no release.' if to else "there is no release before this one."
        if len(found) > 1:
            what = f'"{to}" is the beginning of {len(found)} releases.'
        raise Refused(what, next_step="deploy history", host=there.name)
    return found[0]


def _is_between(inventory: Inventory) -> bool:
    """Whether stable is neither what it was nor what it was to become."""
    if inventory.begun:
        return inventory.begun.channel == STABLE
    return bool(inventory.degraded and not inventory.degraded_beside(STABLE))


def rollback(there: ProjectThere, release: str, rests_on: tuple[str, ...] = ()) -> Ended:
    """Bring an earlier release, as `earlier` gives it, to stable. Raises as `up` does."""
    asked = _asked(there, "rollback", "stable", there.book.release(release))
    return bring(there.api, replace(asked, rests_on=rests_on), there.tell)


def down(there: ProjectThere, channel: str = "", *, kind: str = "down") -> Ended:
    """End all of `channel`, or of both. Volume claims, the namespace, history and kept releases stay.

    Claims stay in the inventory, too: by that a model's is known to be ours (`claims`).
    """

    def tell(event: dict[str, object]) -> None:
        there.tell({**event, "host": there.name})

    with held(there.api, there.project.name, there.who, tell) as lock:
        before = there.book.read()
        if not before.generation and there.forgotten():
            raise Refused(
                "what says which objects are the project's is gone.",
                why=f"ConfigMap deploy-{there.project.name} was deleted, and Deployments run on.",
                next_step="deploy up, then: deploy down",
                host=there.name,
            )
        channels = [channel] if channel else list(before.members)
        stay = {each for name in before.members if name not in channels for each in before.members[name]}
        named = {each.named for each in stay}
        members = [each for name in channels for each in before.members.get(name, ())]
        gone = [each for each in members if each.kind not in KEPT and each.named not in named]
        lock.demand()
        known = before
        if gone:  # who comes after a laptop that dies in the middle is told so
            begun = Begun(kind, channel, before.channels.get(channel, ""), there.who, time.time())
            known = there.book.write(replace(before, begun=begun))
        try:
            if before.routes or before.copies or CANARY in channels:
                weighing = Weighing(there.api, there.book, there.project.name, tell)
                known = weighing.clear(known, stays=STABLE not in channels)
            prune(there.api, there.book.applyset, gone, tell)
        except DeployError as error:
            raise Degraded(
                "not all of it has ended.",
                why="\n".join(filter(None, (error.what, error.why))),
                next_step="when the cause is gone: deploy down",
                host=there.name,
            ) from None
        before = replace(known, begun=before.begun)
        left = {name: id_ for name, id_ in before.channels.items() if name not in channels}
        still = {name: each for name, each in before.members.items() if name not in channels}
        outlive = {name: tuple(each for each in before.members.get(name, ()) if each.kind in KEPT) for name in channels}
        still |= {name: each for name, each in outlive.items() if each}
        new = after(before, "down", left, there.who, Sharing())
        secrets = {name: each for name, each in before.secrets.items() if name not in channels}
        degraded = before.degraded_beside(channel) if left else ""
        new = replace(new, members=still, secrets=secrets, degraded=degraded)
        if kind != "down" or new != before:
            new = new.ended(kind, channel, "committed", there.who, note=note(before, new))
            return Ended("committed", there.book.write(replace(new, begun=before.left(channel))))
        return Ended("unchanged", before)


def _asked(there: ProjectThere, kind: str, channel: str, release: Rendered, take_over: tuple[str, ...] = ()) -> Asked:
    return Asked(kind, channel, release, there.project, there.target, there.name, there.who, take_over)
