"""What a cluster knows of a project: which release each channel has, what belongs to it by uid, what was begun.

A ConfigMap, `deploy-PROJECT`, is the parent of an ApplySet (KEP-3659), so that kubectl shows and refuses what is ours.
It is written by its resourceVersion: who read an older one is refused. What a release was, is in a Secret of its own,
which never changes; it holds no secret, but env that not everybody who sees a namespace has to read.
"""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

from provision.cluster.client import Api
from provision.cluster.evidence import Kept
from provision.cluster.objects import MANAGER, PART_OF, PLURALS, Member, Name, Node, at
from provision.cluster.own_routes import KIND, with_share
from provision.cluster.routes import mixed
from provision.cluster.wanted import Rendered, unpacked
from provision.contract.slots import CANARY
from provision.errors import Refused

if TYPE_CHECKING:
    from provision.contract.rollout import RolloutNote, RolloutRecord

_FORMAT = 1
_FORMAT_OF_SHARES = 2  # of one whose canary has requests, which version 1 would end while they come
_FORMAT_OF_SECRETS = 3  # of one whose pods read Secrets that were made here, which earlier versions would forget
_FORMAT_OF_ROUTES = 4  # of one that has HTTPRoutes, in which earlier versions would change what only an apply may
_HISTORY = 50  # entries
_TRIES = 5  # to write it
_KEPT_FOR = "deploy.bitnet/release-of"  # a label of the Secrets; its value is the project


@dataclass(frozen=True)
class Entry:
    """A transaction that ended."""

    sequence: int
    time: float
    kind: str  # up, promote, rollback, down
    outcome: str
    channel: str
    channels: dict[str, str]
    who: str
    why: str = ""
    rollout: RolloutNote | None = None  # what it did to one
    evidence: tuple[str, ...] = ()  # digests of what allowed it


@dataclass(frozen=True)
class Begun:
    """A transaction that was begun; where nobody holds the lock, it was cut short."""

    kind: str
    channel: str
    release: str
    who: str
    time: float


@dataclass(frozen=True)
class Routed:
    """An HTTPRoute in which the canary has a share, and what is beside it for who sends the header."""

    name: str
    uid: str
    were: tuple[int, ...] = ()  # the weights of stable, before; empty where it was not changed, or is ours
    lane: str = ""  # the uid of the one beside it


@dataclass(frozen=True)
class Inventory:
    """All that is known."""

    generation: int = 0
    channels: dict[str, str] = field(default_factory=dict)  # channel -> id of the release that it has
    members: dict[str, tuple[Member, ...]] = field(default_factory=dict)  # by channel
    begun: Begun | None = None
    degraded: str = ""  # why neither release could be proven
    history: tuple[Entry, ...] = ()
    shares: dict[str, float] = field(default_factory=dict)  # lane -> share of the requests, where it was given one
    rollout: RolloutRecord | None = None
    routes: tuple[Routed, ...] = ()
    copies: dict[str, int] = field(default_factory=dict)  # service -> of a canary whose share goes by copies
    # By channel: a Secret as it is rendered -> the one that was made of it here.
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def format(self) -> int:
        """The oldest version's that does no wrong with it."""
        if any(each.kind == KIND for each in self.every_member):
            return _FORMAT_OF_ROUTES
        if any(self.secrets.values()):
            return _FORMAT_OF_SECRETS
        return _FORMAT_OF_SHARES if self.shares or self.rollout or self.routes or self.copies else _FORMAT

    @property
    def every_member(self) -> dict[Name, str]:
        """The uids of all that is ours."""
        return {each.named: each.uid for members in self.members.values() for each in members}

    def ended(
        self,
        kind: str,
        channel: str,
        outcome: str,
        who: str,
        why: str = "",
        note: RolloutNote | None = None,
        evidence: Sequence[str] = (),
    ) -> Inventory:
        """With one more entry of the history, and nothing begun.

        Args:
            note: what it did to a rollout.
            evidence: digests of what allowed it.
        """
        sequence = self.history[-1].sequence + 1 if self.history else 1
        entry = Entry(
            sequence, time.time(), kind, outcome, channel, dict(self.channels), who, why[:500], note, tuple(evidence)
        )
        return replace(self, begun=None, history=(*self.history, entry)[-_HISTORY:])


class Book:
    """The inventory of one project in one namespace, read and written."""

    def __init__(self, api: Api, project: str) -> None:
        self._api = api
        self._project = project
        self._name = f"deploy-{project}"
        self._stored: Node | None = None

    @property
    def applyset(self) -> str:
        """The id that objects of ours are labelled with (KEP-3659, "ApplySet ID")."""
        named = f"{self._name}.{self._api.namespace}.ConfigMap."
        return f"applyset-{urlsafe_b64encode(sha256(named.encode()).digest()).decode().rstrip('=')}-v1"

    def read(self) -> Inventory:
        """What is there; an empty one where nothing was deployed yet.

        Raises:
            Refused: it was written by a newer version, or by nobody of ours.
        """
        self._stored = self._api.get("ConfigMap", self._name)
        return _read(self._name, self._stored) if self._stored else Inventory()

    def write(self, inventory: Inventory) -> Inventory:
        """Store it, one generation on.

        Raises:
            Refused: somebody else has written since it was read.
        """
        new = replace(inventory, generation=inventory.generation + 1)
        for _ in range(_TRIES):
            node = self._node(new)
            if self._stored is None:
                stored = self._api.create(node)
            else:
                node["metadata"]["resourceVersion"] = self._stored["metadata"]["resourceVersion"]
                stored = self._api.replace(node)
            if stored is not None:
                self._stored = stored
                return new
            there = self._api.get("ConfigMap", self._name)
            if there is not None and (self._stored is None or there.get("data") != self._stored.get("data")):
                break
            self._stored = there  # somebody labelled it, or it was deleted: what it said is known here
        raise Refused(
            f"somebody else has changed what the cluster knows of {self._project}.", next_step="deploy status"
        )

    def remove(self) -> None:
        """Nothing of the project is there any more."""
        if self._stored is not None:
            self._api.delete(Name("ConfigMap", self._name), self._stored["metadata"]["uid"])
            self._stored = None

    def keep(self, release: Rendered) -> None:
        """Have the release in the cluster, so that anybody can go back to it."""
        node = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.secret(release.id), "labels": {_KEPT_FOR: self._project}},
            "immutable": True,
            "type": "deploy.bitnet/release",
            "data": {"release": b64encode(release.packed().encode()).decode()},
        }
        self._api.create(node)

    def release(self, id_: str) -> Rendered:
        """A release that is kept.

        Raises:
            Refused: it is not, any more.
            Degraded: it can't be read.
        """
        found = self.find(id_)
        if found is None:
            raise Refused(f"release {id_[:12]} is not kept in the cluster any more.", next_step="deploy history")
        return found

    def find(self, id_: str) -> Rendered | None:
        """A release; None where it is not kept any more.

        Raises:
            Degraded: it can't be read.
        """
        node = self._api.get("Secret", self.secret(id_))
        return unpacked(b64decode(at(node, "data", "release") or "").decode()) if node else None

    def kept(self) -> list[str]:
        """The beginnings of the ids of those that are kept, the oldest first."""
        nodes, _ = self._api.list("Secret", {_KEPT_FOR: self._project})
        nodes.sort(key=lambda node: str(node["metadata"]["creationTimestamp"]))
        return [str(node["metadata"]["name"]).rpartition("-")[2] for node in nodes]

    def forget(self, inventory: Inventory, keep: int) -> None:
        """Let go of releases beyond the newest `keep` and those in use: by when they were last brought to a channel."""
        used = [id_ for entry in inventory.history for id_ in entry.channels.values()]
        last = list(dict.fromkeys(reversed([*used, *inventory.channels.values()])))
        stay = {id_[:12] for id_ in (*last[: keep + 1], *inventory.channels.values())}
        nodes, _ = self._api.list("Secret", {_KEPT_FOR: self._project})
        for node in nodes:
            if str(node["metadata"]["name"]).rpartition("-")[2] not in stay:
                self._api.delete(Name("Secret", node["metadata"]["name"]), node["metadata"]["uid"])
                Kept(self._api, self._project).forget(str(node["metadata"]["name"]).rpartition("-")[2])

    def secret(self, id_: str) -> str:
        """The name of the Secret that keeps a release."""
        return f"{self._name}-{id_[:12]}"

    def _node(self, inventory: Inventory) -> Node:
        kinds = {each.kind for members in inventory.members.values() for each in members}
        kinds |= {"HTTPRoute"} if any(each.lane for each in inventory.routes) else set()
        state = {"format": inventory.format, **asdict(inventory)}
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self._name,
                "labels": {"applyset.kubernetes.io/id": self.applyset, "app.kubernetes.io/managed-by": MANAGER},
                "annotations": {
                    "applyset.kubernetes.io/tooling": f"{MANAGER}/v{_FORMAT}",
                    "applyset.kubernetes.io/contains-group-kinds": ",".join(sorted(map(_group_kind, kinds))),
                },
            },
            "data": {"inventory": json.dumps(state)},
        }

    def labelled(self, objects: Iterable[Node], known: Inventory | None = None) -> list[Node]:
        """`objects` of a channel as they are applied: each says whose it is.

        Args:
            known: by which the canary has its share in what leads to both channels.

        Raises:
            Refused: a route can't give it that.
        """
        given = self._shared(mixed(objects, known.copies), known) if known else objects
        label = {PART_OF: self.applyset}
        return [
            {**node, "metadata": {**node["metadata"], "labels": {**node["metadata"].get("labels", {}), **label}}}
            for node in given
        ]

    def _shared(self, objects: list[Node], known: Inventory) -> list[Node]:
        share, id_ = known.shares.get(CANARY), known.channels.get(CANARY)
        if share is None or not id_ or not any(node["kind"] == KIND for node in objects):
            return objects
        canary = self.find(id_)
        return with_share(objects, canary.lanes[CANARY], share) if canary else objects


def _rollout(record: Any) -> RolloutRecord | None:
    """Raises as whoever misreads a value does, where it is none that was written here."""
    if record is None:
        return None
    document = record["document"]
    numbers = [*document["steps"], *document["abort"].values(), document["each"], document["at_most"]]
    numbers += [record[key] for key in ("began", "paused", "since")]
    texts = [*record["services"], *(record[key] for key in ("id", "release", "who", "status", "why"))]
    if not all(isinstance(each, (int, float)) for each in numbers) or not all(isinstance(each, str) for each in texts):
        raise TypeError("the rollout")
    document["steps"][record["step"]]
    return cast("RolloutRecord", record)


def _group_kind(kind: str) -> str:
    group = PLURALS[kind][0].rpartition("/")[0]
    return f"{kind}.{group}" if group else kind


def _read(name: str, node: Node) -> Inventory:
    try:
        state: dict[str, Any] = json.loads(node["data"]["inventory"])
        if state["format"] > _FORMAT_OF_ROUTES:
            raise Refused(
                f"ConfigMap {name} was written by a newer version of deploy.", next_step="update deploy on this machine"
            )
        return Inventory(
            generation=int(state["generation"]),
            channels={str(channel): str(id_) for channel, id_ in state["channels"].items()},
            members={
                channel: tuple(Member(*map(str, each)) for each in members)
                for channel, members in state["members"].items()
            },
            begun=Begun(**state["begun"]) if state["begun"] else None,
            degraded=str(state["degraded"]),
            history=tuple(
                Entry(**{**entry, "evidence": tuple(map(str, entry.get("evidence", ())))}) for entry in state["history"]
            ),
            shares={str(lane): float(share) for lane, share in state.get("shares", {}).items()},
            rollout=_rollout(state.get("rollout")),
            routes=tuple(Routed(**{**each, "were": tuple(each["were"])}) for each in state.get("routes", ())),
            copies={str(name): int(count) for name, count in state.get("copies", {}).items()},
            secrets={
                str(channel): {str(secret): str(name) for secret, name in names.items()}
                for channel, names in state.get("secrets", {}).items()
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise Refused(
            f"ConfigMap {name} is none that deploy has written: {type(error).__name__} {error}.",
            next_step=f"if it is nobody's: kubectl delete configmap {name}, then: deploy up",
        ) from None
