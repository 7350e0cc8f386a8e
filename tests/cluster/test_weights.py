"""A canary's share of the requests on a real Gateway: as it was asked for, and nobody fails."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.declared import Declared
from tests.cluster.gateway import Gateway, route

pytestmark = pytest.mark.slow

REQUESTS = 10_000


@pytest.fixture(autouse=True)
def _stands_before_the_pods(gateway: Gateway) -> None:
    """Each canary of these tests has a route."""


def led_by_ann(small: Declared, gateway: Gateway, backends: list[dict[str, Any]] | None = None) -> str:
    """Her route to the service; its host."""
    host = f"{small.name}.test"
    text = json.dumps(route("public", host, backends or [{"name": "web", "port": 8000}]))
    small.kubectl("apply", "--server-side", "--field-manager=ann", "-f", "-", text=text)
    gateway.wait_for(host)
    return host


def rules(small: Declared) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(small.kubectl("get", "httproute", "public", "-o", "json"))["spec"]["rules"]
    return found


def test_ten_thousand_requests_come_to_the_lanes_as_it_was_asked_for(small: Declared, gateway: Gateway) -> None:
    small.ok("up")
    host = led_by_ann(small, gateway)
    before = rules(small)
    small.write("two")

    small.ok("up", "--channel", "canary", "--weight", "5%")

    seen = gateway.ask(host, REQUESTS)
    assert sum(seen.values()) == REQUESTS == seen["200 one"] + seen["200 two"]
    assert abs(seen["200 two"] / REQUESTS - 0.05) < 0.02
    small.ok("traffic", "canary=25%")
    assert abs(gateway.ask(host, REQUESTS)["200 two"] / REQUESTS - 0.25) < 0.02
    small.ok("traffic", "canary=0%")
    assert set(gateway.ask(host, 400)) == {"200 one"}
    assert set(gateway.ask(host, 40, {"X-Lane": "canary"})) == {"200 two"}
    assert small.event("traffic")["given"] == [{"by": "HTTPRoute public", "service": "web", "share": 0.0}]

    small.ok("down", "--channel", "canary")

    assert rules(small) == before
    assert small.names("httproute.gateway.networking.k8s.io") == {"public"}
    assert set(gateway.ask(host, 400)) == {"200 one"}


def test_nobody_fails_while_canaries_come_and_go(small: Declared, gateway: Gateway) -> None:
    small.ok("up")
    host = led_by_ann(small, gateway)
    with gateway.load(host) as seen:
        for version in ("two", "three"):  # the second comes in the place of the first, at half of the requests
            small.write(version)
            small.ok("up", "--channel", "canary", "--weight", "50%")
        small.ok("promote")

    assert set(seen) == {"200 one", "200 two", "200 three"}, seen
    assert set(gateway.ask(host, 200)) == {"200 three"}


def test_nobody_meets_a_canary_that_fails_nor_one_that_ends(small: Declared, gateway: Gateway) -> None:
    small.ok("up")
    host = led_by_ann(small, gateway)
    small.write("two")
    small.ok("up", "--channel", "canary", "--weight", "50%")
    with gateway.load(host) as seen:
        small.write("three", env=', STATUS = "500"', timeout="3s")
        assert small.run("up", "--channel", "canary", "--weight", "50%").returncode == 1
        assert small.event("traffic")["given"][0]["share"] == 0.5  # as before, with the one before
        small.ok("down", "--channel", "canary")

    assert set(seen) == {"200 one", "200 two"}, seen


def test_of_a_route_that_leads_to_others_too_they_keep_what_they_have(small: Declared, gateway: Gateway) -> None:
    small.write(more='[services.other]\ncommand = ["/web", "${port}"]\nport = 8001\nenv = { VERSION = "other" }\n')
    small.ok("up")
    host = led_by_ann(
        small, gateway, [{"name": "web", "port": 8000, "weight": 1}, {"name": "nobody", "port": 1, "weight": 1}]
    )
    small.write("two")

    coarse = small.run("up", "--channel", "canary", "--weight", "5%")

    assert coarse.returncode == 4
    assert "our weights there add up to 1" in coarse.stderr
    assert small.event("status")["inventory"]["channels"].keys() == {"stable"}
    led_by_ann(
        small, gateway, [{"name": "web", "port": 8000, "weight": 100}, {"name": "nobody", "port": 1, "weight": 0}]
    )
    small.ok("up", "--channel", "canary", "--weight", "5%")
    assert [(each["name"], each["weight"]) for each in rules(small)[0]["backendRefs"]] == [
        ("web", 95),
        ("web-canary", 5),
        ("nobody", 0),
    ]
    seen = gateway.ask(host, 2000)
    assert 50 < seen["200 two"] < 150


def test_who_takes_the_share_away_is_named_and_it_is_given_again(small: Declared, gateway: Gateway) -> None:
    """So it is after a laptop that died before it had changed the route, too."""
    small.ok("up")
    host = led_by_ann(small, gateway)
    small.write("two")
    small.ok("up", "--channel", "canary", "--weight", "50%")
    patch = '[{"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": 0}]'
    small.kubectl("patch", "httproute", "public", "--type=json", "-p", patch)

    status = small.event("status")

    assert status["state"] == "drifted"
    assert status["drift"] == ["HTTPRoute public: the canary has 0% of web, and was given 50%"]
    small.ok("traffic", "canary=50%")
    assert small.event("status")["state"] == "serving"
    assert gateway.ask(host, 400)["200 two"] > 100


def test_without_a_route_a_share_goes_by_copies_which_is_said(small: Declared) -> None:
    small.write(replicas=3, more='expose = ["0.0.0.0/0"]\n')
    small.ok("up")
    small.write("two", replicas=3, more='expose = ["0.0.0.0/0"]\n')

    done = small.run("up", "--channel", "canary", "--weight", "50%")

    assert done.returncode == 0, done.stderr
    assert "by copies: web: 3" in done.stderr
    assert small.kubectl("get", "deployment", "web-canary", "-o", "jsonpath={.spec.replicas}") == "3"
    addresses = small.kubectl("get", "endpointslice", "-l", "kubernetes.io/service-name=web", "-o", "json")
    assert len(json.loads(addresses)["items"][0]["endpoints"]) == 6
    assert small.event("status")["state"] == "serving"
    small.ok("promote")
    assert json.loads(small.kubectl("get", "service", "web", "-o", "json"))["spec"]["selector"]["channel"] == "stable"
    assert small.versions() == {"two"}


def test_where_nothing_decides_who_gets_what_a_share_is_refused_before_anything_is_changed(small: Declared) -> None:
    small.ok("up")
    small.write("two")

    refused = small.run("up", "--channel", "canary", "--weight", "5%")

    assert refused.returncode == 4
    assert "no service is exposed" in refused.stderr
    assert small.names("deployment.apps") == {"web"}
