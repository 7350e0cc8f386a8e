"""A real autoscaler in the middle of a deploy: it reads what pods do, and counts copies as it will."""

from __future__ import annotations

import pytest

from tests.cluster.declared import Declared
from tests.cluster.faulty import At, Before, FaultyApi, passed
from tests.cluster.metrics import metrics
from tests.cluster.running import Cluster
from tests.faults.hooks import until

_SCALE = "scale = { max = 3, cpu = 50 }\n"


def _copies(small: Declared) -> int:
    return int(small.kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}"))


@pytest.mark.slow
def test_an_autoscaler_that_scales_in_the_middle_of_a_release_is_left_to_it(small: Declared, cluster: Cluster) -> None:
    with FaultyApi(cluster) as faulty, metrics(cluster) as measured:
        faulty.reach(small.kubeconfig)
        small.write("one", more=_SCALE)
        small.ok("up")
        assert _copies(small) == 1

        def scaled() -> None:
            measured.cpu = "90m"  # of 100
            until(lambda: _copies(small) > 1, "the autoscaler has seen it", 30)

        faulty.plan = At(lambda request: "/portforward" in request.path, Before(scaled))
        small.write("two", more=_SCALE)

        small.ok("up")

        faulty.plan = passed
        until(lambda: _copies(small) == 3, "it has as many as it may", 60)
        until(lambda: small.event("status")["state"] == "serving", "all of them run", 60)
        assert small.versions() == {"two"}
        assert small.event("plan")["unchanged"]
        small.write("three", more=_SCALE)
        small.ok("up")
        assert small.versions() == {"three"}
        assert _copies(small) == 3
