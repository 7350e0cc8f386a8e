"""Rollouts on a real Gateway, judged by a real Prometheus: promoted, aborted, or as they were when nobody watches."""

from __future__ import annotations

import json
import signal
import time

import pytest

from tests.cluster.declared import Declared
from tests.cluster.gateway import Gateway, route
from tests.faults.hooks import until

pytestmark = pytest.mark.slow

_ROLLOUT = """
[targets.k8s.rollout]
steps = ["20%", "50%"]
each = "{each}"
at_most = "60s"
prometheus = "{prometheus}"
[targets.k8s.rollout.abort]
errors = "5%"
slower = "50%"
"""


@pytest.fixture
def small(small: Declared, gateway: Gateway) -> Declared:
    declare(small, "one", gateway.prometheus)
    text = json.dumps(route("public", f"{small.name}.test", [{"name": "web", "port": 8000}]))
    small.kubectl("apply", "--server-side", "-f", "-", text=text)
    return small


def declare(small: Declared, version: str, prometheus: str, *, env: str = "", each: str = "4s") -> None:
    small.write(version, path="/alive", env=env)
    text = (small.root / "deploy.toml").read_text() + _ROLLOUT.format(prometheus=prometheus, each=each)
    (small.root / "deploy.toml").write_text(text)


def status(small: Declared) -> str:
    return str(small.event("status")["inventory"]["rollout"]["status"])


# What the canary does; how its rollout ends; what is said of it.
CANARIES: list[tuple[str, str, str]] = [
    ("", "promoted", "Promoted by"),
    (', FAILS = "0.2"', "aborted", "of the canary's requests failed"),
    (', SLOW = "40ms"', "aborted", "half of the canary's answers took at most"),
]


@pytest.mark.parametrize(("env", "outcome", "said"), CANARIES)
def test_a_canary_is_promoted_or_aborted_by_what_its_users_saw(
    env: str, outcome: str, said: str, small: Declared, gateway: Gateway
) -> None:
    small.ok("up")
    declare(small, "two", gateway.prometheus, env=env)
    small.ok("up")
    gateway.wait_for(f"{small.name}.test")
    with gateway.load(f"{small.name}.test") as seen:
        watched = small.run("rollout", "watch", "--every", "1", "--json")

    verdict = json.loads(watched.stdout.splitlines()[-1])
    assert (verdict["outcome"], watched.returncode) == (outcome, 0 if outcome == "promoted" else 1), watched.stdout
    assert said in verdict["why"]
    assert small.versions() == {"two" if outcome == "promoted" else "one"}
    assert seen["200 two"]
    if outcome == "promoted":
        assert set(seen) == {"200 one", "200 two"}
    else:
        assert set(gateway.ask(f"{small.name}.test", 200)) == {"200 one"}
        assert gateway.ask(f"{small.name}.test", 40, {"X-Lane": "canary"})


def test_a_laptop_that_dies_leaves_the_weights_and_the_next_one_goes_on(small: Declared, gateway: Gateway) -> None:
    small.ok("up")
    declare(small, "two", gateway.prometheus, each="8s")
    small.ok("up")
    host = f"{small.name}.test"
    gateway.wait_for(host)
    with gateway.load(host):
        with small.start("rollout", "watch", "--every", "1", "--json") as laptop:
            until(lambda: small.event("status")["inventory"]["rollout"]["step"] == 1, "the second step", 60)
            laptop.send_signal(signal.SIGKILL)
            laptop.communicate()
        time.sleep(15)  # longer than the step takes
        assert abs(gateway.ask(host, 1000)["200 two"] - 500) < 60
        assert status(small) == "running"
        lease = json.loads(small.kubectl("get", "lease", f"deploy-{small.name}", "-o", "json"))
        lease["spec"]["holderIdentity"] = ""  # its time has passed, should it have died with the lock
        small.cluster.kubectl("replace", "-f", "-", text=json.dumps(lease))

        small.ok("rollout", "watch", "--every", "1")

    assert small.versions() == {"two"}


def test_a_rollout_is_paused_resumed_and_aborted_and_nothing_else_comes_meanwhile(
    small: Declared, gateway: Gateway
) -> None:
    small.ok("up")
    declare(small, "two", gateway.prometheus)
    small.ok("up")
    assert small.event("up")["outcome"] == "unchanged"

    small.ok("rollout", "pause")
    assert status(small) == "paused"
    by_hand = small.run("traffic", "canary=90%")
    declare(small, "three", gateway.prometheus)
    other = small.run("up")
    small.ok("rollout", "resume")
    assert status(small) == "running"
    small.ok("rollout", "abort")

    assert (by_hand.returncode, other.returncode) == (4, 4)
    assert "a rollout of release" in by_hand.stderr
    assert "--abort-rollout" in other.stderr
    assert status(small) == "aborted"
    assert small.run("rollout", "watch").returncode == 1
    assert set(gateway.ask(f"{small.name}.test", 200)) == {"200 one"}
    small.ok("up")  # begins anew, with another
    assert status(small) == "running"


def test_without_prometheus_all_stays_as_it_is_and_may_be_aborted(small: Declared, gateway: Gateway) -> None:
    small.ok("up")
    declare(small, "two", "http://127.0.0.1:1")
    small.ok("up")

    away = small.run("rollout", "watch")

    assert away.returncode != 0
    assert "Prometheus does not answer at http://127.0.0.1:1" in away.stderr
    assert gateway.ask(f"{small.name}.test", 1000)["200 two"] > 100
    small.ok("rollout", "abort")
    assert set(gateway.ask(f"{small.name}.test", 200)) == {"200 one"}


def test_steps_without_a_route_are_refused_before_anything_is_changed(small: Declared, gateway: Gateway) -> None:
    small.ok("up")
    small.kubectl("delete", "httproute", "public")
    declare(small, "two", gateway.prometheus)

    refused = small.run("up")

    assert refused.returncode == 4
    assert "no HTTPRoute of the namespace leads to a Service" in refused.stderr
    assert small.names("deployment.apps") == {"web"}
    small.ok("up", "--channel", "stable")
    assert small.versions() == {"two"}
