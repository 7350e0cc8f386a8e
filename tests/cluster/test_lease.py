"""Who has the lock, asked of a real API server: clocks may be wrong, and answers may be lost."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from provision.cluster.kept import lease
from provision.cluster.server.client import Api
from provision.errors import Refused
from tests.cluster.running import Cluster

NAMES = (f"deploy-lock{number}" for number in itertools.count())


@pytest.fixture
def api(api_server: Cluster) -> Iterator[Api]:
    made = Api(None, api_server.kubeconfig, "default")
    yield made
    made.close()


def lock(api: Api, name: str, who: str, told: list[Any] | None = None) -> lease.Held:
    return lease.Held(api, name, who, (told if told is not None else []).append)


def write(api_server: Cluster, name: str, renewed: str, seconds: int) -> None:
    """As somebody does whose clock says `renewed`."""
    spec = {"holderIdentity": "ann@laptop 1", "leaseDurationSeconds": seconds, "renewTime": renewed}
    node = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": spec}
    api_server.kubectl("apply", "-f", "-", text=json.dumps(node))


@pytest.mark.parametrize("clock", ["2020-01-01T00:00:{:02}.000000Z", "2090-01-01T00:00:{:02}.000000Z"])
def test_a_holder_whose_clock_is_wrong_keeps_the_lock_as_long_as_they_renew_it(
    clock: str, api: Api, api_server: Cluster
) -> None:
    name, over = next(NAMES), threading.Event()
    told: list[Any] = []
    write(api_server, name, clock.format(0), 8)

    def renew() -> None:
        for second in range(1, 60):
            if over.wait(1):
                return
            write(api_server, name, clock.format(second), 8)

    holder = threading.Thread(target=renew)
    holder.start()
    try:
        with pytest.raises(Refused, match="ann@laptop is deploying"):
            lock(api, name, "bob", told).take()
    finally:
        over.set()
        holder.join()
    assert "waiting 8 s to see whether ann@laptop" in str(told)


def test_a_lock_that_nobody_renews_is_taken_after_its_time_as_measured_here(api: Api, api_server: Cluster) -> None:
    name = next(NAMES)
    write(api_server, name, "2090-01-01T00:00:00.000000Z", 2)
    began = time.monotonic()

    taken = lock(api, name, "bob")
    taken.take()

    assert time.monotonic() - began >= 2
    taken.demand()
    taken.release()
    theirs = lock(api, name, "eve")
    theirs.take()  # at once, as it was given back
    theirs.release()


def test_who_has_not_renewed_it_in_time_goes_on_only_if_nobody_has_taken_it(
    api: Api, api_server: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_SECONDS", 1)
    monkeypatch.setattr(lease, "_RENEW", 600.0)  # the machine sleeps
    name = next(NAMES)
    ours = lock(api, name, "bob")
    ours.take()
    time.sleep(1.2)
    api_server.kubectl("annotate", "lease", name, "a=b")  # as where an answer was lost: it is not what we know
    ours.demand()
    time.sleep(1.2)
    theirs = lock(api, name, "eve")
    theirs.take()

    with pytest.raises(Refused, match="the lock was lost"):
        ours.demand()
    ours.release()
    theirs.demand()
    theirs.release()


def test_nothing_is_written_for_a_lock_that_was_given_back(
    api: Api, api_server: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_RENEW", 0.01)  # so that one is nearly always under way
    before = set(threading.enumerate())
    ours = lock(api, next(NAMES), "bob")
    ours.take()
    time.sleep(0.2)

    ours.release()

    assert set(threading.enumerate()) <= before
