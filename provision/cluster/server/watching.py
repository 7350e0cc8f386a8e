"""What the API server shows of a project, kept up to date by watches, each in a thread (API "Efficient detection").

A watch that ends, breaks or is too old (410) lists anew; so nothing is missed, and nothing is asked in between.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from types import TracebackType

from provision.cluster.server.client import Api, Gone
from provision.cluster.server.lean import lean
from provision.cluster.server.objects import Node
from provision.errors import DeployError

_SECONDS = 45  # of one watch; the server ends it then


class Watched:
    """All objects of some kinds with these labels, each `lean`, until this is left."""

    def __init__(self, api: Api, kinds: Sequence[str], labels: Mapping[str, str]) -> None:
        self._api = api
        self._labels = labels
        self._objects: dict[str, dict[str, Node]] = {kind: {} for kind in kinds}
        self._listed: set[str] = set()
        self._changed = threading.Condition()
        self._over = False
        self._failed: DeployError | None = None

    def __enter__(self) -> Watched:
        for kind in self._objects:
            threading.Thread(target=self._keep, args=(kind,), daemon=True, name=f"watch {kind}").start()
        with self._changed:
            self._changed.wait_for(lambda: self._listed >= set(self._objects) or self._failed is not None)
        self._demand()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over = True

    def of(self, kind: str) -> list[Node]:
        with self._changed:
            return list(self._objects[kind].values())

    def named(self, kind: str, name: str) -> Node | None:
        with self._changed:
            return next((node for node in self._objects[kind].values() if node["metadata"]["name"] == name), None)

    def wait(self, seconds: float) -> None:
        """Until something changes, or so long.

        Raises:
            Unreachable, Refused: the API server does not answer any more, or does not let us look.
        """
        with self._changed:
            self._changed.wait(seconds)
        self._demand()

    def _demand(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _keep(self, kind: str) -> None:
        pause = threading.Event()
        while not self._over:
            try:
                nodes, version = self._api.list(kind, self._labels, lean)
            except DeployError as error:  # it was tried for a minute
                with self._changed:
                    self._failed = error
                    self._changed.notify_all()
                return
            with self._changed:
                self._objects[kind] = {node["metadata"]["uid"]: node for node in nodes}
                self._listed.add(kind)
                self._changed.notify_all()
            try:
                for what, node in self._api.watch(kind, self._labels, version, _SECONDS):
                    self._see(kind, what, node)
                    if self._over:
                        return
            except Gone:
                pause.wait(0.5)

    def _see(self, kind: str, what: str, node: Node) -> None:
        with self._changed:
            if what == "DELETED":
                self._objects[kind].pop(node["metadata"]["uid"], None)
            elif what in ("ADDED", "MODIFIED"):
                self._objects[kind][node["metadata"]["uid"]] = lean(node)
            self._changed.notify_all()
