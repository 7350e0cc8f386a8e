"""A laptop that dies while it reads: nobody cleans up after it, nor ends what it began."""

from __future__ import annotations

import itertools
import signal

import pytest

from tests.cluster.declared import Declared
from tests.cluster.faulty import At, Before, FaultyApi, Request, passed
from tests.cluster.running import Cluster

_EVERY = 7  # of them; between two writes all meet the same


def _reads(request: Request) -> bool:
    return not request.writes


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_reads_all_through_an_up_one_release_serves_and_one_more_up_ends_it_all(
    small: Declared, cluster: Cluster
) -> None:
    """Each finds what the one before left."""
    with FaultyApi(cluster) as faulty:
        faulty.reach(small.kubeconfig)
        small.ok("up")
        _killed_at_reads(small, faulty)


def _killed_at_reads(served: Declared, faulty: FaultyApi) -> None:
    versions = {"one"}
    for number in itertools.count(step=_EVERY):
        served.write(f"v{number}")
        versions.add(f"v{number}")
        with served.start("up") as process:
            faulty.plan = At(_reads, Before(process.kill), number)
            _, said = process.communicate(timeout=200)
        faulty.plan = passed
        served.free()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, (number, said)
        found = served.event("status")
        assert found["state"] in ("serving", "interrupted"), (number, found)
        assert served.versions(), number
        assert served.versions() <= versions, number
        assert found["state"] == "interrupted" or len(served.versions()) == 1, number

    assert number > 4 * _EVERY
    assert served.versions() == {f"v{number}"}
    assert served.event("status")["state"] == "serving"
    assert served.names("deployment.apps") == {"web"}
    assert len([name for name in served.names("configmap") if name.startswith("web-")]) == 1
