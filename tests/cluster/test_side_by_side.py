"""A release of several services, applied side by side: whatever happens in the middle, it is one release or says so.

The API server is the real one, with pods; what is asked of it goes through a proxy that does something else by plan.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from functools import partial

import pytest

from tests.cluster.declared import Declared
from tests.cluster.faulty import Answer, At, Before, FaultyApi, Lost, Request, passed
from tests.cluster.running import Cluster

_SERVICES = 5  # beside web
_MORE = """\
[services.s{number}]
command = ["/web", "${{port}}"]
port = {port}
resources = {{ memory = "32MiB", cpus = 0.02 }}
env = {{ VERSION = "{version}" }}
probes = {{ readiness = {{ period = "1s" }} }}
drain = "0s"
stop_timeout = "1s"
"""
_IN_THE_MIDDLE = (0, 3, 7, 10)  # of the twelve that are applied: a ConfigMap and a Deployment of each


def applies(request: Request) -> bool:
    return request.writes and request.method == "PATCH"


def write(small: Declared, version: str) -> None:
    more = "".join(_MORE.format(number=each, port=8001 + each, version=version) for each in range(_SERVICES))
    small.write(version, more=more)


def declared(small: Declared) -> set[str]:
    """The versions that Deployments have."""
    found = {kind: json.loads(small.kubectl("get", kind, "-o", "json"))["items"] for kind in ("cm", "deployment")}
    versions = {each["metadata"]["name"]: each.get("data", {}).get("VERSION") for each in found["cm"]}
    assert len(found["deployment"]) == _SERVICES + 1
    containers = [each["spec"]["template"]["spec"]["containers"][0] for each in found["deployment"]]
    return {versions[each["envFrom"][0]["configMapRef"]["name"]] for each in containers}


@pytest.fixture
def many(small: Declared, cluster: Cluster) -> Iterator[tuple[Declared, FaultyApi]]:
    """One that serves, deployed and asked through the proxy."""
    with FaultyApi(cluster) as faulty:
        faulty.reach(small.kubeconfig)
        write(small, "one")
        small.ok("up")
        assert declared(small) == {"one"}
        yield small, faulty


@pytest.mark.slow
def test_killed_while_several_are_applied_it_says_so_and_the_next_up_ends_it(many: tuple[Declared, FaultyApi]) -> None:
    small, faulty = many
    for number in _IN_THE_MIDDLE:
        write(small, f"v{number}")
        with small.start("up") as process:
            faulty.plan = plan = At(applies, Lost(process.kill), number)
            process.communicate(timeout=200)
        faulty.plan = passed
        assert plan.came
        small.free()
        assert small.event("status")["state"] == "interrupted", number

        small.ok("up")

        assert declared(small) == {f"v{number}"}
        assert small.event("status")["state"] == "serving"
        assert len(small.names("configmap")) == _SERVICES + 3  # with the inventory and the cluster's own


@pytest.mark.slow
@pytest.mark.parametrize("number_of", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_cancelled_while_several_are_applied_the_old_release_is_whole(
    number_of: signal.Signals, many: tuple[Declared, FaultyApi]
) -> None:
    small, faulty = many
    for number in _IN_THE_MIDDLE:
        write(small, f"v{number}")
        with small.start("up") as process:
            faulty.plan = plan = At(applies, Before(partial(process.send_signal, number_of)), number)
            _, said = process.communicate(timeout=200)
        faulty.plan = passed
        assert plan.came
        assert process.returncode == 130, said
        assert declared(small) == {"one"}, number
        assert small.versions() == {"one"}
        assert small.event("status")["state"] == "serving"
        assert small.kubectl("get", "lease", "-o", "jsonpath={.items[*].spec.holderIdentity}").strip() == ""


@pytest.mark.slow
def test_where_one_of_several_is_refused_that_is_told_and_the_old_release_is_whole(
    many: tuple[Declared, FaultyApi],
) -> None:
    """A quota, a webhook or a right may say no to what a dry run was allowed."""
    small, faulty = many
    for number in _IN_THE_MIDDLE:
        write(small, f"v{number}")
        faulty.plan = At(applies, Answer(422, "Invalid"), number)

        done = small.run("up")

        faulty.plan = passed
        assert done.returncode == 1, done.stderr
        assert "said by a test: Invalid" in done.stderr
        assert "serves, proven again" in done.stderr
        assert declared(small) == {"one"}, number
        assert small.event("status")["state"] == "serving"
    small.ok("up")
    assert declared(small) == {f"v{_IN_THE_MIDDLE[-1]}"}
