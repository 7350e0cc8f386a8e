"""A service with a `proxy` behind a real Gateway: by its name, by a route that every deploy has, and shares stay."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.declared import Declared
from tests.cluster.gateway import Gateway
from tests.faults.hooks import until

pytestmark = pytest.mark.slow

REQUESTS = 10_000
GATEWAY = '[targets.k8s.gateway]\nname = "public"\nnamespace = "{namespace}"\n'


def declare(
    small: Declared,
    version: str,
    *,
    namespace: str = "gateways",
    headers: str = "",
    env: str = "",
    timeout: str = "20s",
) -> str:
    """The project with a name that users know; that name."""
    host = f"{small.name}.test"
    small.write(version, more=f'proxy = {{ names = ["{host}"]{headers} }}\n', env=env, timeout=timeout)
    file = small.root / "deploy.toml"
    file.write_text(file.read_text() + GATEWAY.format(namespace=namespace))
    return host


def route(small: Declared) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(small.kubectl("get", "httproute", "web", "-o", "json"))
    return found


@pytest.fixture
def host(small: Declared, gateway: Gateway) -> str:
    host = declare(small, "one")
    small.ok("up")
    gateway.wait_for(host)
    return host


def test_a_service_is_reached_by_its_name_until_it_is_taken_down(small: Declared, gateway: Gateway, host: str) -> None:
    assert set(gateway.ask(host, 200)) == {"200 one"}
    assert small.event("status")["state"] == "serving"
    before = route(small)["metadata"]["resourceVersion"]
    assert small.event("up")["outcome"] == "unchanged"
    assert route(small)["metadata"]["resourceVersion"] == before

    small.ok("down")

    assert small.names("httproute.gateway.networking.k8s.io") == set()


def test_a_share_stays_as_it_was_asked_for_while_stable_is_deployed(
    small: Declared, gateway: Gateway, host: str
) -> None:
    declare(small, "two")
    small.ok("up", "--channel", "canary", "--weight", "5%")
    assert abs(gateway.ask(host, REQUESTS)["200 two"] / REQUESTS - 0.05) < 0.02
    small.ok("traffic", "canary=25%")
    assert set(gateway.ask(host, 40, {"X-Lane": "canary"})) == {"200 two"}

    declare(small, "three", headers=', headers = { X-Frame-Options = "DENY" }')  # the route changes, too
    with gateway.load(host) as seen:
        small.ok("up", "--channel", "stable")

    assert set(seen) == {"200 one", "200 two", "200 three"}, seen
    until(lambda: "200 one" not in gateway.ask(host, 80), "the old pod, which answers while it drains, to end")
    share = gateway.ask(host, REQUESTS)
    assert sum(share.values()) == REQUESTS == share["200 two"] + share["200 three"]
    assert abs(share["200 two"] / REQUESTS - 0.25) < 0.02
    assert abs(seen["200 two"] / sum(seen.values()) - 0.25) < 0.05
    assert small.event("status")["state"] == "serving"
    before = route(small)["metadata"]["resourceVersion"]
    assert small.event("up", "--channel", "stable")["outcome"] == "unchanged"
    assert route(small)["metadata"]["resourceVersion"] == before

    small.ok("promote")

    assert set(gateway.ask(host, 200)) == {"200 two"}
    assert [each["name"] for each in route(small)["spec"]["rules"][0]["backendRefs"]] == ["web"]
    assert small.names("httproute.gateway.networking.k8s.io") == {"web"}
    assert small.event("status")["state"] == "serving"


def test_a_canary_that_fails_leaves_the_share_of_the_one_before(small: Declared, gateway: Gateway, host: str) -> None:
    declare(small, "two")
    small.ok("up", "--channel", "canary", "--weight", "50%")
    with gateway.load(host) as seen:
        declare(small, "three", env=', STATUS = "500"', timeout="3s")
        assert small.run("up", "--channel", "canary", "--weight", "50%").returncode == 1
        assert small.event("traffic")["given"][0]["share"] == 0.5
        small.ok("down", "--channel", "canary")

    assert set(seen) == {"200 one", "200 two"}, seen
    assert set(gateway.ask(host, 200)) == {"200 one"}


def test_who_has_changed_a_route_is_named_before_a_share_is_given(small: Declared, host: str) -> None:
    patch = '[{"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 7}]'
    small.kubectl("patch", "httproute", "web", "--type=json", "-p", patch)
    declare(small, "two")

    refused = small.run("up", "--channel", "canary", "--weight", "5%")

    assert refused.returncode == 4
    assert "kubectl-patch" in refused.stderr
    assert small.event("status")["state"] == "drifted"
    assert small.names("deployment.apps") == {"web"}
    declare(small, "one")
    small.ok("up", "--take-over", "kubectl-patch")
    assert small.event("status")["state"] == "serving"


def test_a_gateway_that_takes_no_route_is_named_and_what_served_is_put_back(
    small: Declared, gateway: Gateway, host: str
) -> None:
    declare(small, "two", namespace="nowhere")

    failed = small.run("up")

    assert failed.returncode == 1
    assert "no Gateway nowhere/public says that it takes it" in failed.stderr
    gateway.wait_for(host)
    until(lambda: set(gateway.ask(host, 40)) == {"200 one"}, "the pod that failed, which drains, to end")
    assert small.event("status")["state"] == "serving"
