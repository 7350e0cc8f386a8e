"""Applies objects, and ends them: kind after kind, those of one kind side by side, since none of these needs another.

Whoever calls this has the lock, and has what comes in the books. Of a large project only what waits for it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from provision.cluster.changing.changes import claimed, counted, foreign
from provision.cluster.changing.likeness import stands
from provision.cluster.server.at_once import at_once, each_of, ours
from provision.cluster.server.client import Api, Conflict
from provision.cluster.server.lean import lean
from provision.cluster.server.objects import KEPT, MANAGER, PART_OF, PLURALS, Member, Name, Node, at, name_of, owns
from provision.errors import Refused

if TYPE_CHECKING:
    from provision.events import OnEvent

_HANDOVER = "deploy-handover"
_FIRST_PRUNED = list(PLURALS)[::-1]


def apply_each(
    api: Api, wanted: Sequence[Node], applyset: str, take_over: tuple[str, ...], demand: Callable[[], None]
) -> list[Node]:
    """Apply objects that are in order of their kinds; what is left of each as it is then is `lean`.

    Args:
        demand: asked before each; raises where nobody may go on.

    Raises:
        Refused: what one of them is refused for. Those under way have ended, and no more were begun.
    """
    applied: list[Node] = []

    def one(there: dict[Name, Node], node: Node) -> Node:
        demand()
        return lean(apply(api, node, there.pop(name_of(node), None), applyset, take_over))

    with at_once() as pool:
        for kind, nodes in groupby(wanted, itemgetter("kind")):
            applied += each_of(pool, partial(one, ours(api, kind, applyset)), nodes)
    return applied


def apply(api: Api, node: Node, live: Node | None, applyset: str, take_over: tuple[str, ...]) -> Node:
    """Apply one object, but for what stands; as it is then.

    Args:
        live: as it is; None where it may not be there, or be somebody else's.

    Raises:
        Refused: others have fields of it, or the server refuses it.
    """
    live = live or api.get(*name_of(node))
    if live is not None and (owner := foreign(live, applyset, take_over)):
        raise claimed([f"{name_of(node)}: is there already, and not this project's; {owner} has it"])
    if node["kind"] == "Secret":
        return live or _made(api, node)
    if live is not None and stands(counted(api, node, live), live):
        return live
    if live is not None and at(node, "spec", "replicas") is None and owns(live, MANAGER, "spec", "replicas"):
        # An autoscaler counts from now on. What its owner leaves out is reset, to one copy; so it is handed over.
        kept = {"spec": {"replicas": at(live, "spec", "replicas")}, "metadata": {"name": node["metadata"]["name"]}}
        api.apply({"apiVersion": node["apiVersion"], "kind": node["kind"], **kept}, manager=_HANDOVER, force=True)
    try:
        return api.apply(counted(api, node, live), force=bool(take_over))
    except Conflict as conflict:
        raise claimed(conflict.claims) from None


def _made(api: Api, node: Node) -> Node:
    """A Secret, which nobody changes once it is there."""
    made = api.create(node) if "data" in node else None
    if made is None:
        raise Refused(f"{name_of(node)} is gone.", next_step="deploy up, where the values of its secrets are known")
    return made


def prune(api: Api, applyset: str, members: Iterable[Member], tell: OnEvent) -> None:
    """End objects of ours: those that still say so, and are the ones that were applied here; never what others fill."""
    gone = sorted(
        (each for each in members if each.kind not in KEPT),
        key=lambda each: (_FIRST_PRUNED.index(each.kind), each.name),
    )
    with at_once() as pool:
        for kind, each in groupby(gone, itemgetter(0)):
            for name in filter(None, each_of(pool, partial(_ended, api, ours(api, kind, applyset), applyset), each)):
                tell({"event": "step", "step": "stop", "program": str(name), "detail": ""})


def _ended(api: Api, there: Mapping[Name, Node], applyset: str, member: Member) -> Name | None:
    """End one; its name, where it was there."""
    live = there.get(member.named) or api.get(*member.named)
    if live is None or (at(live, "metadata", "labels") or {}).get(PART_OF) != applyset:
        return None
    if live["metadata"]["uid"] != member.uid and member.uid:
        return None  # another one, of the same name
    return member.named if api.delete(member.named, live["metadata"]["uid"]) else None
