"""One at a time: a Lease with a holder, which ends by itself where its holder died (API "Leases").

The holder renews it from a thread. One that is over by its own time is taken; two who take it at once are told apart
by its resourceVersion. The inventory is written by its own, so that a clock which is wrong costs no state.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from provision.cluster.client import Api
from provision.cluster.objects import Node, at
from provision.errors import DeployError, Refused

_SECONDS = 40  # that it holds, unless it is renewed
_RENEW = 10.0  # seconds
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


class Held:
    """The lock, as long as it is ours."""

    def __init__(self, api: Api, name: str, who: str) -> None:
        self._api = api
        self._name = name
        self._who = f"{who} {uuid4().hex[:8]}"
        self._node: Node = {}
        self._over = threading.Event()
        self._lost = ""

    def demand(self) -> None:
        """Refuse to go on where somebody else may have begun.

        Raises:
            Refused: the lock was lost.
        """
        if self._lost:
            raise Refused(f"the lock was lost: {self._lost}", next_step="deploy status")

    def take(self) -> None:
        found = self._api.get("Lease", self._name)
        if found is None:
            made = self._api.create(self._filled({"metadata": {"name": self._name}}))
        elif (holder := _holder(found)) and not _is_over(found):
            raise Refused(
                f"{holder.rpartition(' ')[0] or holder} is deploying.",
                why=f"The lock is Lease {self._name}; it ends {_SECONDS} s after its holder has died.",
                next_step="deploy status",
            )
        else:
            made = self._api.replace(self._filled(found))
        if made is None:
            raise Refused("somebody else has just begun to deploy.", next_step="deploy status")
        self._node = made
        threading.Thread(target=self._renew, daemon=True, name="lease").start()

    def release(self) -> None:
        self._over.set()
        found = self._api.get("Lease", self._name)
        if found is not None and at(found, "spec", "holderIdentity") == self._who:
            self._api.replace({**found, "spec": {**found["spec"], "holderIdentity": ""}})

    def _filled(self, node: Node) -> Node:
        now = datetime.now(UTC).strftime(_TIME)
        spec = {"holderIdentity": self._who, "leaseDurationSeconds": _SECONDS, "renewTime": now, "acquireTime": now}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **node, "spec": spec}

    def _renew(self) -> None:
        while not self._over.wait(_RENEW):
            try:
                made = self._api.replace(self._filled(self._node))
                if made is None:
                    self._lost = "somebody else has it"
                    return
                self._node = made
            except DeployError as error:  # tried for a minute already
                self._lost = str(error.what)
                return


@contextmanager
def held(api: Api, project: str, who: str) -> Iterator[Held]:
    """The lock of a project, while this lasts.

    Raises:
        Refused: somebody else has it.
    """
    lock = Held(api, f"deploy-{project}", who)
    lock.take()
    try:
        yield lock
    finally:
        lock.release()


def holder(api: Api, project: str) -> str:
    """Who is deploying; empty where nobody is."""
    found = api.get("Lease", f"deploy-{project}")
    return _holder(found).rpartition(" ")[0] if found and not _is_over(found) else ""


def _holder(node: Node) -> str:
    return str(at(node, "spec", "holderIdentity") or "")


def _is_over(node: Node) -> bool:
    try:
        renewed = datetime.strptime(str(at(node, "spec", "renewTime")), _TIME).replace(tzinfo=UTC)
    except ValueError:
        return True
    return datetime.now(UTC) - renewed > timedelta(seconds=float(at(node, "spec", "leaseDurationSeconds") or 0))
