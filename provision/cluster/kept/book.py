"""Where a cluster keeps what it knows of a project: the inventory, and what each release was.

A ConfigMap, `deploy-PROJECT`, is the parent of an ApplySet (KEP-3659), so that kubectl shows and refuses what is ours.
It is written by its resourceVersion: who read an older one is refused. What a release was, is in a Secret of its own,
which never changes; it holds no secret, but env that not everybody who sees a namespace has to read.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import asdict, replace
from hashlib import sha256

from provision.cluster.kept.evidence import Kept
from provision.cluster.kept.inventory import FORMAT, Inventory, parsed
from provision.cluster.kept.routes import KIND, mixed, with_share
from provision.cluster.kept.wanted import Rendered, unpacked
from provision.cluster.server.client import Api
from provision.cluster.server.objects import MANAGER, PART_OF, PLURALS, Name, Node, at
from provision.contract.slots import CANARY
from provision.errors import Refused

_TRIES = 5  # to write it
_KEPT_FOR = "deploy.bitnet/release-of"  # a label of the Secrets; its value is the project


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
        return parsed(self._name, self._stored) if self._stored else Inventory()

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
        """Have the release in the cluster, so that anybody can go back to it.

        One that is there is not made again: a quota that is full would refuse that before the server saw its name.
        """
        if self._api.get("Secret", self.secret(release.id)) is not None:
            return
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
                    "applyset.kubernetes.io/tooling": f"{MANAGER}/v{FORMAT}",
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


def _group_kind(kind: str) -> str:
    group = PLURALS[kind][0].rpartition("/")[0]
    return f"{kind}.{group}" if group else kind
