"""One at a time: a Lease with a holder, which ends by itself where its holder died (API "Leases").

The holder renews it from a thread. Clocks of two machines are not compared to take it: one that seems over is watched
for as long as it holds, and taken where nobody has renewed it meanwhile (as client-go's leaderelection does). Two who
take it at once are told apart by its resourceVersion.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from provision.cluster.server.client import Api
from provision.cluster.server.objects import Node, at
from provision.cluster.server.unbroken import unbroken
from provision.errors import DeployError, Refused
from provision.events import OnEvent

_SECONDS = 40  # that it holds, unless it is renewed
_LONGEST = 120.0  # seconds that one is watched, whatever somebody wrote into it
_RENEW = 10.0  # seconds
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


class Held:
    """The lock, as long as it is ours."""

    def __init__(self, api: Api, name: str, who: str, tell: OnEvent) -> None:
        self._api = api
        self._name = name
        self._who = f"{who} {uuid4().hex[:8]}"
        self._tell = tell
        self._node: Node = {}
        self._renewed = 0.0
        self._writing = threading.Lock()
        self._over = threading.Event()
        self._lost = False
        self._keeper: threading.Thread | None = None
        self._asked = False  # whether it may be ours

    def demand(self) -> None:
        """Refuse to go on where somebody else may have begun.

        Raises:
            Refused: the lock was lost.
            Unreachable: nobody can say whether it was.
        """
        if not self._lost and time.monotonic() - self._renewed > _SECONDS:
            self._renew()
        if self._lost:
            raise Refused(
                f"the lock was lost: somebody else has it, or has deleted Lease {self._name}.",
                next_step="deploy status",
            )

    def take(self) -> None:
        found = self._api.get("Lease", self._name)
        if found is not None and (holder := _holder(found)) and not (_seems_over(found) and self._is_still(found)):
            raise Refused(
                f"{holder.rpartition(' ')[0] or holder} is deploying.",
                why=f"The lock is Lease {self._name}; it ends {_SECONDS} s after its holder has died.",
                next_step="deploy status",
            )
        self._asked = True
        if found is None:
            made = self._api.create(self._filled({"metadata": {"name": self._name}}))
        else:
            made = self._api.replace(self._filled(found))
        if made is None:
            raise Refused("somebody else has just begun to deploy.", next_step="deploy status")
        self._node, self._renewed = made, time.monotonic()
        keeper = threading.Thread(target=self._keep, daemon=True, name="lease")
        keeper.start()
        self._keeper = keeper

    def release(self) -> None:
        """Nothing is written after this. Where the cluster does not answer, the lock ends by itself."""
        self._over.set()
        if self._keeper is not None:
            self._keeper.join()
        if not self._asked:
            return
        with self._writing, suppress(DeployError):
            found = self._api.get("Lease", self._name)
            if found is not None and _holder(found) == self._who:
                self._api.replace({**found, "spec": {**found["spec"], "holderIdentity": ""}})

    def _is_still(self, found: Node) -> bool:
        """Whether nobody renews it for as long as it holds, by this machine's own measure of time."""
        seconds = min(_holds(found), _LONGEST)
        who = _holder(found).rpartition(" ")[0]
        text = f"waiting {seconds:.0f} s to see whether {who}, who has the lock, is still there"
        self._tell({"event": "warning", "text": text})
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(min(1.0, seconds))
            new = self._api.get("Lease", self._name)
            if new is None or new["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
                return False
        return True

    def _filled(self, node: Node) -> Node:
        now = datetime.now(UTC).strftime(_TIME)
        spec = {"holderIdentity": self._who, "leaseDurationSeconds": _SECONDS, "renewTime": now, "acquireTime": now}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **node, "spec": spec}

    def _keep(self) -> None:
        while not self._over.wait(_RENEW) and not self._lost:
            with suppress(DeployError):  # it is tried again, here or by who needs it
                self._renew()

    def _renew(self) -> None:
        """Write that we are there. One that was written without our hearing of it is ours nevertheless."""
        with self._writing:
            if self._over.is_set():
                return
            made = self._api.replace(self._filled(self._node))
            if made is None:
                found = self._api.get("Lease", self._name)
                made = self._api.replace(self._filled(found)) if found and _holder(found) == self._who else None
            if made is None:
                self._lost = True
            else:
                self._node, self._renewed = made, time.monotonic()


@contextmanager
def held(api: Api, project: str, who: str, tell: OnEvent) -> Iterator[Held]:
    """The lock of a project, while this lasts.

    Args:
        tell: called with an event where it takes a while to have it.

    Raises:
        Refused: somebody else has it.
    """
    lock = Held(api, f"deploy-{project}", who, tell)
    try:
        lock.take()
        yield lock
    finally:
        with unbroken():
            lock.release()


def holder(api: Api, project: str) -> str:
    """Who is deploying; empty where nobody is, as far as this machine's clock can tell."""
    found = api.get("Lease", f"deploy-{project}")
    return _holder(found).rpartition(" ")[0] if found and not _seems_over(found) else ""


def _holder(node: Node) -> str:
    return str(at(node, "spec", "holderIdentity") or "")


def _holds(node: Node) -> float:
    """Seconds."""
    try:
        return max(float(at(node, "spec", "leaseDurationSeconds")), 0.0)
    except (TypeError, ValueError):
        return float(_SECONDS)


def _seems_over(node: Node) -> bool:
    """Whether it was not renewed lately, by two clocks: of this machine and of its holder's."""
    try:
        renewed = datetime.strptime(str(at(node, "spec", "renewTime")), _TIME).replace(tzinfo=UTC)
    except ValueError:
        return True
    return abs(datetime.now(UTC) - renewed) > timedelta(seconds=_holds(node))
