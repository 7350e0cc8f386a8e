"""A canary's share by its number of copies, where no HTTPRoute leads here: a Service leads to pods of both channels."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from provision.cluster.changing.filled import as_known
from provision.cluster.kept import routes
from provision.cluster.server.objects import at, labels_of
from provision.contract.slots import CANARY, STABLE
from provision.events import OnEvent

if TYPE_CHECKING:
    from provision.cluster.kept.book import Book
    from provision.cluster.kept.inventory import Inventory
    from provision.cluster.server.client import Api

_SECONDS = 120.0  # within which copies answer


class Copies:
    """The copies of one project in one namespace. Whoever changes them has the lock."""

    def __init__(self, api: Api, book: Book, project: str, tell: OnEvent) -> None:
        self._api = api
        self._book = book
        self._project = project
        self._tell = tell

    def place(self, known: Inventory, reached: Sequence[str], share: float) -> Inventory:
        """Give the canary about that share of the services that are `reached`; as the inventory is then."""
        copies = {service: routes.copies_for(share, self._ready(STABLE, service)) for service in reached}
        if copies == known.copies:
            return known
        before, known = known, self._book.write(replace(known, copies=copies))
        # What leads to pods comes after all that lets it through, and goes before that.
        for lane in (CANARY, STABLE) if copies else (STABLE, CANARY):
            if lane not in known.channels:
                continue
            objects = as_known(self._book.release(known.channels[lane]), lane, known).lanes[lane]
            changed = [
                new
                for old, new in zip(*(self._book.labelled(objects, each) for each in (before, known)), strict=True)
                if new != old
            ]
            for node in changed if copies else reversed(changed):
                self._api.apply(node)
        if copies:
            names = ", ".join(f"{service}: {count}" for service, count in copies.items())
            text = f"no HTTPRoute leads here, so the canary has about its share, by copies: {names}"
            self._tell({"event": "warning", "text": text})
            self._wait_for(copies)
        return known

    def share(self, service: str) -> float:
        """What the canary really has."""
        canary, stable = self._ready(CANARY, service), self._ready(STABLE, service)
        return canary / max(1, canary + stable)

    def _wait_for(self, copies: Mapping[str, int]) -> None:
        """Until the copies of a canary answer; the cluster may have no room for them."""
        deadline = time.monotonic() + _SECONDS
        for service, count in copies.items():
            while (ready := self._ready(CANARY, service)) < count:
                if time.monotonic() > deadline:
                    text = f"{ready} of {count} copies of {service}'s canary are ready in {_SECONDS:.0f} s"
                    self._tell({"event": "warning", "text": f"{text}; next: deploy status"})
                    return
                time.sleep(0.5)

    def _ready(self, lane: str, service: str) -> int:
        labels = {**labels_of(self._project), "channel": lane, "app.kubernetes.io/name": service}
        found, _ = self._api.list("Deployment", labels)
        return sum(int(at(node, "status", "readyReplicas") or 0) for node in found) or 1
