"""Gives a canary its share of the requests: by weights of HTTPRoutes that lead to us, else by copies.

What is wanted is in the inventory before anything is changed, with what the routes had before; so whoever comes after a
laptop that died makes it so, or takes it back. A route that somebody changes meanwhile is read again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from provision.cluster.kept import routes
from provision.cluster.kept.book import Book
from provision.cluster.kept.inventory import Inventory, Routed
from provision.cluster.kept.routes import Pair
from provision.cluster.server.client import Api
from provision.cluster.server.objects import PART_OF, Name, Node, at, labels_of
from provision.cluster.server.refusals import Invalid
from provision.cluster.traffic.copies import Copies
from provision.cluster.traffic.own_routes import OwnRoutes, is_own
from provision.contract.slots import CANARY, STABLE
from provision.errors import DeployError, Refused
from provision.events import OnEvent

_TRIES = 5
_SECONDS = 30.0  # within which a Gateway says that it has seen a route
_SETTLES = 3.0  # seconds: it says so before each of its processes has heard of it
_HEAR = "add an HTTPRoute that leads to the Service of stable; or expose it, then by copies (docs/kubernetes.md)"


@dataclass(frozen=True)
class Given:
    """What a canary really has of the requests that come one way."""

    by: str  # an HTTPRoute, or "copies of SERVICE"
    service: str
    share: float


class Weighing:
    """The shares of one project in one namespace. Whoever calls this has the lock."""

    def __init__(self, api: Api, book: Book, project: str, tell: OnEvent) -> None:
        self._api = api
        self._book = book
        self._project = project
        self._tell = tell
        self._own = OwnRoutes(api, book)
        self._copies = Copies(api, book, project, tell)

    def demand(self, share: float, stable: str, canary: Sequence[Node], *, finely: bool = False) -> None:
        """Refuse a share that nothing could give, before anything is changed.

        Args:
            stable: the release that serves; empty where none does.
            canary: the objects that the canary's channel will have.
            finely: whether it is the first of many steps, which copies can't follow.

        Raises:
            Refused: says why, and the way out.
        """
        if not stable:
            raise Refused("nothing serves yet, so a canary has nothing to share with.", next_step="deploy up")
        ours = routes.pairs(self._objects(stable, STABLE), canary)
        found = self._leading(ours)
        for route in found:
            routes.shared(route, ours, share)
        self._own.demand(stable, canary, share)
        if finely and not found:
            raise Refused(
                "no HTTPRoute of the namespace leads to a Service of the project.",
                why="The steps of a rollout take weights; by copies a share is far from what is asked for.",
                next_step="add one, or remove rollout.steps; deploy up --channel stable goes past them",
            )
        if share and not found and not self._open(stable, ours):
            raise Refused(
                "nothing here decides who gets which request.",
                why="No HTTPRoute of the namespace leads to a Service of the project, and no service is exposed.",
                next_step=_HEAR,
            )

    def hide(self, known: Inventory) -> None:
        """Let nobody to the canary for now: another release comes to it, which is not proven yet."""
        if known.routes:
            ours = self._pairs(known)
            waited = self._own.give(known, 0.0)
            for each in known.routes:
                if each.were:
                    waited += self._change(each, lambda route: routes.shared(route, ours, 0.0))
            self._wait(waited)

    def place(self, known: Inventory) -> Inventory:
        """Make it what the inventory says; as it says then.

        Raises:
            Refused: a share can't be given.
        """
        if CANARY not in known.channels or STABLE not in known.channels:
            return known
        ours, share = self._pairs(known), known.shares.get(CANARY)
        try:
            found = self._leading(ours)
        except Refused as error:
            if share is not None or known.routes:
                raise
            self._tell({"event": "warning", "text": f"{error.what} {error.why} So no header leads to the canary."})
            return known
        if not found:
            reached = self._open(known.channels[STABLE], ours) if share else []
            return self._copies.place(known, reached, share or 0.0)
        known = self._remembered(known, found, ours, gives=share is not None)
        waited = self._own.give(known, share) if share is not None else []
        for each in known.routes:
            if each.were and share is not None:
                waited += self._change(each, lambda route: routes.shared(route, ours, share))
        lanes = {str(route["metadata"]["name"]): self._beside(route, ours) for route in found}
        new = tuple(replace(each, lane=lanes.get(each.name, each.lane)) for each in known.routes)
        if new != known.routes:
            known = self._book.write(replace(known, routes=new))
        self._wait(waited)
        return known

    def clear(self, known: Inventory, *, stays: bool = True) -> Inventory:
        """Take the canary out of all that leads to it; as the inventory is then.

        Args:
            stays: whether stable does, with its routes.
        """
        if known.routes:
            ours = self._pairs(known)
            waited = self._own.give(known, None) if stays else []
            for each in known.routes:
                if each.were:
                    waited += self._change(each, partial(routes.restored, ours=ours, were=each.were))
                if each.lane:
                    self._api.delete(Name("HTTPRoute", routes.lane_name(each.name)), each.lane)
            self._wait(waited)
            known = self._book.write(replace(known, routes=()))
        return self._copies.place(known, [], 0.0)

    def given(self, known: Inventory) -> list[Given]:
        """What the canary has, as the cluster shows it."""
        if CANARY not in known.channels or STABLE not in known.channels:
            return []
        ours = self._pairs(known)
        found = [
            Given(f"HTTPRoute {route['metadata']['name']}", pair.service, share)
            for route in self._leading(ours)
            for pair in ours
            for share in routes.shares(route, pair)
        ]
        return [*found, *(Given(f"copies of {each}", each, self._copies.share(each)) for each in known.copies)]

    def led(self, known: Inventory) -> list[tuple[Pair, list[str]]]:
        """Services that requests come to by routes, with those."""
        ours = self._pairs(known)
        found = self._leading(ours)
        named = {
            pair: [str(each["metadata"]["name"]) for each in found if routes.led_to(each, [pair])] for pair in ours
        }
        return [(pair, names) for pair, names in named.items() if names]

    def lanes_led(self, known: Inventory) -> list[tuple[str, dict[str, str], list[str]]]:
        """Services that requests come to by routes: each with the Service of each lane, and with those."""
        lanes = {lane: routes.services(self._objects(id_, lane)) for lane, id_ in known.channels.items()}
        ours = [Pair(service, name, "") for service, name in lanes.get(STABLE, {}).items()]
        found = self._leading(ours) if ours else []
        named = [
            (pair, [str(each["metadata"]["name"]) for each in found if routes.led_to(each, [pair])]) for pair in ours
        ]
        return [
            (pair.service, {lane: each[pair.service] for lane, each in lanes.items() if pair.service in each}, names)
            for pair, names in named
            if names
        ]

    def _pairs(self, known: Inventory) -> list[Pair]:
        if {STABLE, CANARY} - known.channels.keys():
            return []
        stable = self._objects(known.channels[STABLE], STABLE)
        return routes.pairs(stable, self._objects(known.channels[CANARY], CANARY))

    def _objects(self, release: str, lane: str) -> list[Node]:
        return self._book.release(release).lanes[lane]

    def _leading(self, ours: Sequence[Pair]) -> list[Node]:
        """Routes of the namespace that lead to us, but for those that were made beside one."""
        found, _ = self._api.list("HTTPRoute", {})
        return [
            {"apiVersion": "gateway.networking.k8s.io/v1", **route}
            for route in found
            if routes.led_to(route, ours) and not _is_beside(route)
        ]

    def _remembered(self, known: Inventory, found: Sequence[Node], ours: Sequence[Pair], *, gives: bool) -> Inventory:
        """What routes have is in the books before they have anything else."""
        old = {each.uid: each for each in known.routes}
        new = []
        for route in found:
            name, uid = str(route["metadata"]["name"]), str(route["metadata"]["uid"])
            each = old.get(uid, Routed(name, uid))
            taken = gives and not is_own(route, self._book.applyset)
            new.append(replace(each, were=each.were or tuple(routes.weights(route, ours))) if taken else each)
        return self._book.write(replace(known, routes=tuple(new))) if tuple(new) != known.routes else known

    def _change(self, each: Routed, change: Callable[[Node], Node]) -> list[str]:
        """Change a route, by the version that was read; its name where there was anything to change."""
        for _ in range(_TRIES):
            route = self._api.get("HTTPRoute", each.name)
            if route is None or route["metadata"]["uid"] != each.uid:
                return []  # it is gone, or another one
            new = change(route)
            if new == route:
                return []
            if self._api.replace(new) is not None:
                return [each.name]
        raise Refused(
            f"HTTPRoute {each.name} changes all the time, so its weights could not be set.",
            next_step=f"kubectl get httproute {each.name} --show-managed-fields -o yaml",
        )

    def _beside(self, route: Node, ours: Sequence[Pair]) -> str:
        """The route for who sends the header; its uid, empty where it could not be made, which fails nothing."""
        node = routes.lane_route(route, ours)
        labels = {**labels_of(self._project), PART_OF: self._book.applyset}
        try:
            return str(self._api.apply({**node, "metadata": {**node["metadata"], "labels": labels}})["metadata"]["uid"])
        except (Invalid, DeployError) as error:
            text = f"{routes.LANE_HEADER}: canary leads nowhere special: {error.what} {error.why}"
            self._tell({"event": "warning", "text": text.strip()})
            return ""

    def _wait(self, names: Sequence[str]) -> None:
        """Until Gateways have seen what was changed."""
        deadline = time.monotonic() + _SECONDS
        late = dict.fromkeys(names, "")
        while late:
            found = {name: self._api.get("HTTPRoute", name) for name in late}
            late = {name: why for name, route in found.items() if route and (why := routes.refusal(route))}
            if late and time.monotonic() > deadline:
                said = "; ".join(f"HTTPRoute {name}: {why}" for name, why in late.items())
                text = f"weights are not known to have been taken, after {_SECONDS:.0f} s: {said}"
                self._tell({"event": "warning", "text": f"{text}; next: kubectl describe httproute {next(iter(late))}"})
                return
            time.sleep(0.5 if late else 0)
        if names:
            time.sleep(_SETTLES)

    def _open(self, stable: str, ours: Sequence[Pair]) -> list[str]:
        """Services that outsiders reach: of others, each lane asks its own."""
        objects = self._objects(stable, STABLE)
        return [pair.service for pair in ours if routes.lets_outsiders(pair.service, objects)]


def _is_beside(route: Node) -> bool:
    owners = at(route, "metadata", "ownerReferences") or ()
    return any(routes.lane_name(str(each.get("name"))) == route["metadata"]["name"] for each in owners)
