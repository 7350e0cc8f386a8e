"""What becomes of somebody's HTTPRoute when a canary has a share: decided without a cluster."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.cluster.kept.routes import (
    Pair,
    copies_for,
    lane_route,
    mixed,
    refusal,
    restored,
    shared,
    shares,
    weights,
)
from provision.errors import Refused

WEB, API = Pair("web", "web", "web-canary"), Pair("api", "api", "api-canary")
OURS = [WEB, API]


def ref(name: str, weight: int = 1, **more: object) -> dict[str, Any]:
    return {"group": "", "kind": "Service", "name": name, "port": 80, "weight": weight, **more}


def route(*rules: list[dict[str, Any]]) -> dict[str, Any]:
    path = {"path": {"type": "PathPrefix", "value": "/"}}
    made = [{"matches": [path], "filters": [{"type": "CORS"}], "backendRefs": refs} for refs in rules]
    spec = {"parentRefs": [{"name": "public"}], "hostnames": ["a.test"], "rules": made}
    metadata = {"name": "public", "uid": "u", "namespace": "here"}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata, "spec": spec}


def divided(node: dict[str, Any]) -> list[dict[str, int]]:
    return [{each["name"]: each["weight"] for each in rule["backendRefs"]} for rule in node["spec"]["rules"]]


# What rules lead to; the share; what they lead to then.
SHARED: list[tuple[list[dict[str, int]], float, list[dict[str, int]]]] = [
    ([{"web": 1}], 0.05, [{"web": 9500, "web-canary": 500}]),
    ([{"web": 9500, "web-canary": 500}], 0.25, [{"web": 7500, "web-canary": 2500}]),
    ([{"web": 9500, "web-canary": 500}], 0, [{"web": 10000, "web-canary": 0}]),
    ([{"web": 1}], 1, [{"web": 0, "web-canary": 10000}]),
    ([{"web": 1}], 0.0001, [{"web": 9999, "web-canary": 1}]),
    ([{"web": 1}, {"theirs": 3}], 0.5, [{"web": 5000, "web-canary": 5000}, {"theirs": 3}]),
    # Others' stay as they are, and ours keep their sum.
    ([{"web": 100, "theirs": 50}], 0.05, [{"web": 95, "web-canary": 5, "theirs": 50}]),
    # Between services of ours their proportion stays.
    ([{"web": 3, "api": 1}], 0.1, [{"web": 27000, "web-canary": 3000, "api": 9000, "api-canary": 1000}]),
    ([{"web": 0}], 0.1, [{"web": 0}]),  # somebody has switched it off
]


@pytest.mark.parametrize(("before", "share", "then"), SHARED)
def test_what_leads_to_us_is_divided_and_nothing_else_changes(
    before: list[dict[str, int]], share: float, then: list[dict[str, int]]
) -> None:
    old = route(*([ref(*each) for each in rule.items()] for rule in before))

    new = shared(old, OURS, share)

    assert divided(new) == then
    assert shared(new, OURS, share) == new
    for one, other in zip(old["spec"]["rules"], new["spec"]["rules"], strict=True):
        assert {**one, "backendRefs": 0} == {**other, "backendRefs": 0}


def test_a_service_of_another_namespace_or_kind_is_not_ours() -> None:
    theirs = route([ref("web", namespace="other"), ref("web", kind="Bucket", group="x.y")])
    assert shared(theirs, OURS, 0.5) == theirs


def test_a_service_may_be_named_with_the_namespace_that_is_ours() -> None:
    assert divided(shared(route([ref("web", namespace="here")]), OURS, 0.5)) == [{"web": 5000, "web-canary": 5000}]


def test_weights_that_are_too_small_beside_others_are_refused() -> None:
    with pytest.raises(Refused):
        shared(route([ref("web"), ref("theirs")]), OURS, 0.05)


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(["web", "api", "theirs"]), st.integers(0, 10**6)), max_size=4), max_size=4
    ),
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
)
def test_a_route_gets_back_what_it_had(rules: list[list[tuple[str, int]]], asked: list[float]) -> None:
    old = route(*([ref(name, weight) for name, weight in dict(rule).items()] for rule in rules))
    were, new = weights(old, OURS), old
    try:
        for share in asked:
            new = shared(new, OURS, share)
    except Refused:
        pass

    assert restored(new, OURS, were) == old
    assert all(0 <= each["weight"] <= 10**6 for rule in new["spec"]["rules"] for each in rule["backendRefs"])


def test_who_sends_the_header_comes_to_the_canary_by_a_route_of_ours_beside() -> None:
    made = lane_route(shared(route([ref("web")], [ref("theirs")]), OURS, 0.0), OURS)

    (rule,) = made["spec"]["rules"]
    assert made["spec"]["hostnames"] == ["a.test"]
    assert [each["name"] for each in rule["backendRefs"]] == ["web-canary"]
    assert rule["matches"] == [
        {
            "path": {"type": "PathPrefix", "value": "/"},
            "headers": [{"type": "Exact", "name": "X-Lane", "value": "canary"}],
        }
    ]
    assert rule["filters"] == [{"type": "CORS"}]
    assert made["metadata"]["ownerReferences"][0]["uid"] == "u"


def test_the_share_is_read_where_a_rule_is_not_switched_off() -> None:
    assert shares(route([ref("web", 95), ref("web-canary", 5)], [ref("web", 0)]), WEB) == [0.05]


@pytest.mark.parametrize(
    ("share", "stable", "copies"), [(0.05, 3, 1), (0.25, 3, 1), (0.5, 3, 3), (0.25, 9, 3), (1, 4, 4)]
)
def test_a_share_by_copies_is_the_nearest_that_copies_can_give(share: float, stable: int, copies: int) -> None:
    assert copies_for(share, stable) == copies


def policy(service: str, lane: str, callers: list[str], peers: list[str]) -> dict[str, Any]:
    """As it is rendered, of a service that Prometheus looks at, and that asks for names."""

    def pods(name: str) -> dict[str, Any]:
        return {"podSelector": {"matchLabels": {"app.kubernetes.io/name": name, "channel": lane}}}

    names = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    sources = [*map(pods, callers), {"ipBlock": {"cidr": "10.0.0.0/8"}}]
    spec = {"ingress": [{"from": sources}], "egress": [{"to": [names]}, *({"to": [pods(each)]} for each in peers)]}
    labels = {"app.kubernetes.io/name": service, "channel": lane}
    return {"kind": "NetworkPolicy", "metadata": {"name": service, "labels": labels}, "spec": spec}


def named(node: dict[str, Any]) -> list[dict[str, str]]:
    """Whose pods a policy names, of those of a channel."""
    rules = [*node["spec"]["ingress"], *node["spec"]["egress"]]
    every = [peer.get("podSelector", {}) for rule in rules for peer in (*rule.get("from", ()), *rule.get("to", ()))]
    return [each["matchLabels"] for each in every if "app.kubernetes.io/name" in each.get("matchLabels", {})]


# A service and its lane; whether the channels of its callers (web) and of those that it calls (api, db) are told apart.
CHANNELS = [
    ("front", "stable", [True, False, True]),  # it calls api by a Service that leads to both channels
    ("front", "canary", [True, True, True]),  # by one that leads to its own
    ("api", "stable", [True, False, True]),
    ("api", "canary", [False, True, True]),  # stable's callers come here, too
]


@pytest.mark.parametrize(("service", "lane", "told_apart"), CHANNELS)
def test_where_a_service_leads_to_both_channels_policies_let_stable_s_callers_to_the_canary(
    service: str, lane: str, told_apart: list[bool]
) -> None:
    before = policy(service, lane, ["web"], ["api", "db"])
    (after,) = mixed([before], {"api": 2})

    assert [each.get("channel") == lane for each in named(after)] == told_apart
    assert [each["app.kubernetes.io/name"] for each in named(after)] == ["web", "api", "db"]
    assert mixed([before], {}) == [before] == [policy(service, lane, ["web"], ["api", "db"])]


def said(gateway: str = "edge", generation: int = 2, status: str = "True", **more: str) -> dict[str, Any]:
    """What a Gateway says of a route."""
    accepted = {"type": "Accepted", "status": status, "observedGeneration": generation, "reason": "NoMatch"}
    return {"parentRef": {"name": gateway, **more}, "conditions": [{**accepted, "message": "no such listener"}]}


@pytest.mark.parametrize(
    ("parents", "why"),
    [
        ([said()], ""),
        ([said(namespace="here")], ""),
        ([said(generation=1)], "no Gateway here/edge says"),
        ([], "no Gateway here/edge says"),
        ([said(namespace="other")], "no Gateway here/edge says"),
        ([said(sectionName="web")], "no Gateway here/edge says"),
        ([said(status="False")], "does not take it: NoMatch: no such listener"),
        ([said(), said("left", generation=1)], ""),  # one that the route named before
    ],
)
def test_a_route_is_taken_once_each_gateway_that_it_names_says_so_of_it_as_it_is_now(
    parents: list[dict[str, Any]], why: str
) -> None:
    metadata = {"name": "r", "namespace": "here", "generation": 2}
    node = {"metadata": metadata, "spec": {"parentRefs": [{"name": "edge"}]}, "status": {"parents": parents}}
    assert why in refusal(node) if why else not refusal(node)
