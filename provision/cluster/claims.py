"""Volume claims that deploys leave: whose model is in each, which release has it, and the end of those that none has.

A deploy prunes none, for services wrote into them. What is in a model's can be fetched again, so it may end, and bears
an annotation that says so, as no other does. It is ended by its uid, as the inventory has it: what somebody copied is
theirs. Who is killed in between has ended some, and what the inventory says of these is mended by the next.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from provision.cluster.kept.inventory import Inventory
from provision.cluster.kept.lease import held
from provision.cluster.server.client import Api
from provision.cluster.server.objects import PART_OF, Member, Name, Node, at, is_ending
from provision.contract.slots import STABLE
from provision.errors import Degraded, DeployError, Refused
from provision.manifests.kubernetes.pods import amount

if TYPE_CHECKING:
    from provision.cluster.kept.book import Book
    from provision.cluster.project_there import ProjectThere

MODELS = "deploy.bitnet/models"  # the annotation; the names of those in it, a blank between
_KIND = "PersistentVolumeClaim"
_ENDS = 10.0  # seconds, at most, until the cluster has ended what no pod uses that stays


@dataclass(frozen=True)
class ModelClaim:
    """A volume for what pods fetch, and nothing else."""

    name: str
    uid: str
    models: tuple[str, ...]
    bytes: int  # that it asks for, which is what a quota counts
    channels: tuple[str, ...]  # whose release has it
    releases: tuple[str, ...]  # else: that are kept to go back to and have it, by the beginnings of their ids
    is_ours: bool  # the inventory has it
    is_ending: bool  # once no pod uses it
    pods: tuple[str, ...]  # that use it; of one that ends

    def may_end(self, *, everything: bool = False) -> bool:
        """Whether nothing needs it; with `everything` also where a release has it that only might come back."""
        return self.is_ours and not (self.is_ending or self.channels or (self.releases and not everything))


@dataclass(frozen=True)
class Left:
    """What stays of channels that have ended, by name."""

    models: Mapping[str, int]  # bytes
    volumes: Mapping[str, int]
    ends_volumes: str  # the command that does


def of_models(there: ProjectThere, inventory: Inventory) -> list[ModelClaim]:
    """Every model's claim that was applied here.

    Raises:
        Refused: what the channels have is not known, or the account may not list it.
    """
    api, book = there.api, there.book
    nodes = [node for node in api.list(_KIND, {PART_OF: book.applyset})[0] if _models(node)]
    if not nodes:
        return []
    channels = _of_channels(book, inventory)
    used = {name for _, names in channels for name in names}
    releases = _of_kept(book) if {node["metadata"]["name"] for node in nodes} - used else []
    ending = {node["metadata"]["name"] for node in nodes if is_ending(node)}
    pods = _pods(api, ending) if ending else {}
    known = inventory.every_member
    found = []
    for node in nodes:
        name, uid = node["metadata"]["name"], node["metadata"]["uid"]
        found.append(
            ModelClaim(
                name,
                uid,
                tuple(_models(node).split()),
                _bytes(node),
                tuple(channel for channel, names in channels if name in names),
                tuple(id_ for id_, names in releases if name in names - used),
                known.get(Name(_KIND, name)) in ("", uid),  # as `Member.uid`
                name in ending,
                tuple(pods.get(name, ())),
            )
        )
    return sorted(found, key=lambda each: each.name)


def old(there: ProjectThere, inventory: Inventory, coming: Iterable[Node] = ()) -> tuple[ModelClaim, ...]:
    """Those that nothing needs: none where that can't be told, by this account or between two releases.

    Args:
        coming: objects that would be applied next, and need theirs.
    """
    if inventory.begun or inventory.degraded:
        return ()
    try:
        needed = _claims(coming)
        return tuple(each for each in of_models(there, inventory) if each.may_end() and each.name not in needed)
    except (Refused, Degraded):
        return ()


def prune(there: ProjectThere, uids: Collection[str], *, everything: bool = False) -> list[ModelClaim]:
    """End those of these claims that still nothing needs, under the project's lock; as they are now, if they are.

    Raises:
        Refused: somebody deploys, it is between two releases, or the account may not.
    """

    def tell(event: dict[str, object]) -> None:
        there.tell({**event, "host": there.name})

    api, book = there.api, there.book
    with held(api, there.project.name, there.who, tell) as lock:
        inventory = book.read()
        _demand_whole(there, inventory)
        ended = []
        for each in of_models(there, inventory):
            if each.uid in uids and each.may_end(everything=everything):
                lock.demand()
                api.delete(Name(_KIND, each.name), each.uid)
                ended.append(each)
        names = {each.name for each in ended}
        held_back = _pods(api, names, ending=False) if ended else {}
        there_are = _once_ended(api, book.applyset, {each.uid for each in ended if each.name not in held_back})
        pods = _pods(api, names) if names & there_are.keys() else {}
        lock.demand()
        members = {
            channel: tuple(each for each in members if each.kind != _KIND or _is_there(each, there_are))
            for channel, members in inventory.members.items()
        }
        if members != inventory.members:
            book.write(replace(inventory, members=members))
    return [
        replace(each, is_ending=each.uid in there_are.values(), pods=tuple(pods.get(each.name, ()))) for each in ended
    ]


def left(there: ProjectThere, channel: str) -> Left:
    """What stays of a channel, or of both."""
    nodes: list[Node] = []
    with suppress(DeployError):  # an account of an earlier version may not list them; and what ended has ended
        nodes, _ = there.api.list(_KIND, {PART_OF: there.book.applyset, **({"channel": channel} if channel else {})})
    nodes = [node for node in nodes if not is_ending(node)]
    models = {node["metadata"]["name"]: _bytes(node) for node in nodes if _models(node)}
    volumes = {node["metadata"]["name"]: _bytes(node) for node in nodes if not _models(node)}
    return Left(models, volumes, shlex.join(["kubectl", *there.api.kubectl, "delete", "pvc", *volumes]))


def _demand_whole(there: ProjectThere, inventory: Inventory) -> None:
    if inventory.begun or inventory.degraded:
        raise Refused(
            "it is between two releases, so nobody knows what is needed.",
            next_step="deploy up, then: deploy model prune",
            host=there.name,
        )


def _of_channels(book: Book, inventory: Inventory) -> list[tuple[str, set[str]]]:
    """The claims that each channel has."""
    found = []
    for channel, id_ in inventory.channels.items():
        release = book.find(id_)
        if release is None:
            raise Refused(
                f"Secret {book.secret(id_)} is gone, so nobody knows what {channel} needs.",
                next_step="deploy up, then: deploy model prune",
            )
        found.append((channel, _claims(release.lanes[channel])))
    return found


def _of_kept(book: Book) -> list[tuple[str, set[str]]]:
    """The claims that each kept release would have: what one goes back to becomes stable."""
    found = []
    for id_ in book.kept():
        with suppress(Degraded):  # nobody can go back to what can't be read
            if release := book.find(id_):
                found.append((id_, _claims(release.lanes[STABLE])))
    return found


def _claims(nodes: Iterable[Node]) -> set[str]:
    return {node["metadata"]["name"] for node in nodes if node["kind"] == _KIND}


def _once_ended(api: Api, applyset: str, uids: Collection[str]) -> dict[str, str]:
    """All claims that are there, and their uids, once the cluster has ended these, or should have."""
    deadline = time.monotonic() + _ENDS
    while True:
        metadata = [node["metadata"] for node in api.list(_KIND, {PART_OF: applyset})[0]]
        there_are = {each["name"]: each["uid"] for each in metadata}
        if not set(uids) & {*there_are.values()} or time.monotonic() > deadline:
            return there_are
        time.sleep(0.2)


def _is_there(member: Member, there_are: Mapping[str, str]) -> bool:
    return member.name in there_are and member.uid in ("", there_are[member.name])


def _pods(api: Api, claims: Collection[str], *, ending: bool = True) -> dict[str, list[str]]:
    """Whoever's pods that use these.

    Args:
        ending: those, too, that have been told to end.
    """

    def kept(pod: Node) -> Node:
        volumes = at(pod, "spec", "volumes") or ()
        used = [str(at(each, "persistentVolumeClaim", "claimName")) for each in volumes]
        over = at(pod, "status", "phase") in ("Succeeded", "Failed")  # such a one holds none any more
        over |= is_ending(pod) and not ending
        return {"name": pod["metadata"]["name"], "claims": [] if over else [each for each in used if each in claims]}

    found: dict[str, list[str]] = {}
    for pod in api.list("Pod", {}, kept)[0]:
        for claim in pod["claims"]:
            found.setdefault(claim, []).append(pod["name"])
    return found


def _models(node: Node) -> str:
    return str((at(node, "metadata", "annotations") or {}).get(MODELS) or "")


def _bytes(node: Node) -> int:
    return max(int(amount(at(node, "spec", "resources", "requests", "storage") or 0)), 0)
