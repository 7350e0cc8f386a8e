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


@pytest.mark.slow
def test_copies_that_somebodys_own_autoscaler_counts_are_left_to_it_as_long_as_it_is_there(small: Declared) -> None:
    small.ok("up")
    small.kubectl("autoscale", "deployment", "web", "--min=2", "--max=3", "--cpu=50%")
    until(lambda: _copies(small) == 2, "it has as many as it may have at least", 60)
    until(lambda: small.event("status")["state"] == "serving", "both run", 60)
    small.write("two")

    small.ok("up")

    assert _copies(small) == 2
    assert small.event("plan")["unchanged"]
    small.kubectl("delete", "hpa", "web")
    assert small.run("up").returncode == 4, "what it counted is nobody's wish any more"
    small.ok("up", "--take-over", "kube-controller-manager")
    assert _copies(small) == 1
