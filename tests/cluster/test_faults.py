"""What `deploy` makes of an API server that is busy, answers wrongly or not at all, and of its own sudden end.

The API server is the real one, with pods; what is asked of it goes through a proxy that does something else by plan.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.declared import Declared
from tests.cluster.faulty import Answer, Fault, FaultyApi, Lost, Request
from tests.cluster.parts import program
from tests.cluster.running import Cluster

_NAMES = (f"faulty{number}" for number in itertools.count())


@pytest.fixture
def faulty(cluster: Cluster) -> Iterator[FaultyApi]:
    with FaultyApi(cluster) as proxy:
        yield proxy


@pytest.fixture
def small(cluster: Cluster, faulty: FaultyApi, tmp_path: Path) -> Iterator[Declared]:
    """One that serves, deployed and asked through the proxy."""
    assert cluster.node
    image = cluster.node.load("localhost/web:1", program("pods"))
    made = Declared(cluster, tmp_path, next(_NAMES), image, tmp_path / "kubeconfig")
    made.write()
    made.make_namespace()
    faulty.reach(made.kubeconfig)
    made.ok("up")
    yield made
    cluster.kubectl("delete", "namespace", made.name, "--ignore-not-found", "--wait=false")


@pytest.mark.slow
def test_killed_at_any_write_it_is_one_release_or_says_so_and_the_next_up_ends_it(
    small: Declared, faulty: FaultyApi
) -> None:
    """Reads change nothing: to be killed at one is to be killed after the write before it."""
    old = "one"
    for number in itertools.count():
        new = f"v{number}"
        small.write(new)
        with small.start("up") as process:
            faulty.plan = _AtWrite(number, Lost(process.kill))
            process.communicate(timeout=200)
        faulty.plan = _passed
        if process.returncode == 0:
            assert number > 8
            return
        assert process.returncode == -signal.SIGKILL
        small.free()
        found = small.event("status")
        assert found["state"] in ("serving", "interrupted"), (number, found)
        if found["state"] == "serving":
            assert small.versions() in ({old}, {new}), number
        assert small.versions() <= {old, new}
        assert small.versions(), number
        small.ok("up")
        assert small.versions() == {new}
        assert small.event("status")["state"] == "serving"
        assert small.names("deployment.apps") == {"web"}
        old = new


# What the first request of each kind is answered.
BUSY: dict[str, Answer | Lost] = {
    "429, later": Answer(429, "TooManyRequests", {"Retry-After": "1"}),
    "429 in plain words": Answer(429, "Too Many Requests", {"Content-Type": "text/plain"}, "Too many requests."),
    "500": Answer(500, "InternalError"),
    "500 in plain words": Answer(500, "Internal Error", {"Content-Type": "text/plain"}, "etcdserver: timed out"),
    "503": Answer(503, "ServiceUnavailable"),
    "504": Answer(504, "Timeout"),
    "nothing, and it was done": Lost(),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", BUSY)
def test_a_busy_server_is_lived_through(what: str, small: Declared, faulty: FaultyApi) -> None:
    met: set[object] = set()

    def plan(request: Request) -> Answer | Lost | None:
        if request.kind in met or request.watches or "/portforward" in request.path:
            return None
        met.add(request.kind)
        return BUSY[what]

    small.write("two")
    faulty.plan = plan

    done = small.run("up")

    faulty.plan = _passed
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(met) > 10
    assert small.versions() == {"two"}
    assert small.event("status")["state"] == "serving"
    assert small.kubectl("get", "lease", f"deploy-{small.name}", "-o", "jsonpath={.spec.holderIdentity}") == ""


_GONE = (
    '{"type":"ERROR","object":{"kind":"Status","status":"Failure","reason":"Expired","code":410,"message":"too old"}}\n'
)
WATCHES = {
    "it is too old": Answer(410, "Expired"),
    "it grew too old": Answer(200, body=_GONE),
    "it is cut in a line": Answer(200, body='{"type":"MODIF', short=True),
    "it ends in a line": Answer(200, body='{"type":"MODIF'),
    "it is no JSON": Answer(200, body="<html>\n"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", WATCHES)
def test_a_watch_that_breaks_misses_nothing(what: str, small: Declared, faulty: FaultyApi) -> None:
    broken = itertools.count()
    small.write("two")
    faulty.plan = lambda request: WATCHES[what] if request.watches and next(broken) < 12 else None

    done = small.run("up")

    assert done.returncode == 0, done.stdout + done.stderr
    assert next(broken) >= 4
    assert small.versions() == {"two"}


def _passed(_request: Request) -> None:
    return None


class _AtWrite:
    """A plan: at the write of that number, `fault`."""

    def __init__(self, number: int, fault: Fault) -> None:
        self._before = number
        self._fault = fault

    @property
    def came(self) -> bool:
        return self._before < 0

    def __call__(self, request: Request) -> Fault | None:
        if not request.writes or self.came:
            return None
        self._before -= 1
        return self._fault if self.came else None
