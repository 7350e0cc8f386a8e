"""HTTPRoutes that were applied here: a canary's share is in what is applied, so that no apply takes it away.

Their rules are one value to the API server (Gateway API, `x-kubernetes-list-type: atomic`): who applies a rule has all
weights in it. So weights of these are a function of the release and of the share that the inventory has, and what gives
a share is an apply, too. Routes that are somebody else's are changed by `weighing`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provision.cluster.changing import changes
from provision.cluster.changing.applying import apply
from provision.cluster.kept import routes
from provision.cluster.kept.routes import KIND, with_share
from provision.cluster.kept.wanted import service_of
from provision.cluster.server.objects import PART_OF, Member, Node, at, name_of
from provision.cluster.waiting.wait import NotReady
from provision.contract.slots import CANARY, STABLE

if TYPE_CHECKING:
    from provision.cluster.kept.book import Book
    from provision.cluster.kept.inventory import Inventory
    from provision.cluster.server.client import Api

_SECONDS = 30.0  # within which a Gateway says whether it takes a route


def is_own(route: Node, applyset: str) -> bool:
    """Whether it was applied here as what a release has, and stands beside nobody's."""
    labels = at(route, "metadata", "labels") or {}
    return labels.get(PART_OF) == applyset and not at(route, "metadata", "ownerReferences")


@dataclass(frozen=True)
class Way:
    """By which names users come to a service."""

    route: str
    service: str
    names: tuple[str, ...]  # empty for every one that the Gateway's listener takes
    why: str  # they don't; empty where they do

    def __str__(self) -> str:
        return f"{self.service}: {', '.join(self.names) or 'every name'}, by HTTPRoute {self.route}"


def ways(api: Api, members: Iterable[Member]) -> list[Way]:
    """Those that the routes of a channel are, as the cluster shows them; what is gone is said elsewhere."""
    found = []
    for each in members:
        if each.kind == KIND and (route := api.get(*each.named)) is not None:
            names = tuple(map(str, at(route, "spec", "hostnames") or ()))
            found.append(Way(each.name, service_of(route), names, routes.refusal(route)))
    return found


class OwnRoutes:
    """Those of one project, whose inventory is `book`. Whoever calls this has the lock."""

    def __init__(self, api: Api, book: Book) -> None:
        self._api = api
        self._book = book

    def demand(self, stable: str, canary: Iterable[Node], share: float) -> None:
        """Refuse a share that somebody else's rules stand against, before anything is changed.

        Raises:
            Refused: names whose they are.
        """
        found = changes.changes(self._api, self._wanted(stable, canary, share), self._book.applyset)
        if claims := [claim for each in found for claim in each.claims]:
            raise changes.claimed(claims)

    def give(self, known: Inventory, share: float | None) -> list[str]:
        """Have the canary that share; the names of those that changed.

        Args:
            share: None where the canary is in none of them.

        Raises:
            Refused: somebody else has set their rules.
        """
        release = self._book.find(known.channels[CANARY]) if CANARY in known.channels else None
        canary = release.lanes[CANARY] if release else []
        changed = []
        for node in self._wanted(known.channels.get(STABLE, ""), canary, share):
            live = self._api.get(*name_of(node))
            if live is None:
                continue  # as somebody deleted it, status says
            new = apply(self._api, node, live, self._book.applyset, ())
            if new["metadata"]["generation"] != live["metadata"]["generation"]:
                changed.append(name_of(node).name)
        return changed

    def _wanted(self, stable: str, canary: Iterable[Node], share: float | None) -> list[Node]:
        release = self._book.find(stable) if stable else None
        objects = self._book.labelled(release.lanes[STABLE]) if release else []
        given = objects if share is None else with_share(objects, canary, share)
        return [node for node in given if node["kind"] == KIND]


def demand_taken(api: Api, applied: Iterable[Node], demand: Callable[[], None]) -> None:
    """Wait until the Gateways that routes name have taken them.

    Args:
        demand: asked again and again; raises where nobody may go on.

    Raises:
        NotReady: one has not, with its own words.
    """
    deadline = time.monotonic() + _SECONDS
    for node in applied:
        while node["kind"] == KIND and (why := routes.refusal(api.get(*name_of(node)))):
            demand()
            if time.monotonic() > deadline:
                raise NotReady(name_of(node), why)
            time.sleep(0.5)
