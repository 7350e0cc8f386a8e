"""Weights in HTTPRoutes (Gateway API v1, "HTTPBackendRef"), which are somebody's own: only what leads to us changes.

Pure. Where a rule leads to a Service of stable, what it gives to that is divided between that and the canary's. Rules,
matches, filters and others' backends stay as they are, and so does what others get: a rule's weights are shares of
their sum, so where others are in it, ours keep theirs. What ours were is remembered by whoever changes them.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from provision.cluster.kept.wanted import service_of
from provision.cluster.server.objects import Node, at
from provision.contract.slots import CANARY, STABLE
from provision.errors import Refused
from provision.project.units import percent

KIND = "HTTPRoute"
LANE_HEADER = "X-Lane"
_FINE = 10_000  # that weights of ours add up to at least: a share of 0.01 % is one
_MOST = 1_000_000  # what a weight may be
_NEAR = 0.1  # of the share that is asked for
_LONGEST = 253  # characters of an object's name


@dataclass(frozen=True)
class Pair:
    """The Services of one service: stable's, and the canary's."""

    service: str
    stable: str
    canary: str


def pairs(stable: Iterable[Node], canary: Iterable[Node]) -> list[Pair]:
    """Of the objects that both channels have."""
    ours, theirs = services(stable), services(canary)
    return [Pair(service, ours[service], theirs[service]) for service in ours if service in theirs]


def services(objects: Iterable[Node]) -> dict[str, str]:
    """Service -> the name of its Service; a load balancer of its own leads past every route."""
    return {
        service_of(node): str(node["metadata"]["name"])
        for node in objects
        if node["kind"] == "Service" and at(node, "spec", "type") in (None, "ClusterIP")
    }


def led_to(route: Node, ours: Sequence[Pair]) -> list[Pair]:
    """Those that the rules of a route lead to."""
    names = {ref["name"] for rule in _rules(route) for ref in _refs(rule, _home(route))}
    return [pair for pair in ours if pair.stable in names]


def weights(route: Node, ours: Sequence[Pair]) -> list[int]:
    """What rules give to services of ours, one after another."""
    return [sum(_weight(ref) for ref in _of(rule, pair, _home(route))) for rule, pair in _divided(route, ours)]


def shares(route: Node, pair: Pair) -> list[float]:
    """What the canary has of each rule that leads to a service, and is not switched off."""
    found = []
    for rule, _ in _divided(route, [pair]):
        total = sum(_weight(ref) for ref in _of(rule, pair, _home(route)))
        canary = sum(_weight(ref) for ref in _of(rule, pair, _home(route)) if ref["name"] == pair.canary)
        found += [canary / total] if total else []
    return found


def shared(route: Node, ours: Sequence[Pair], share: float) -> Node:
    """`route` where the canary has that share of what leads to each service.

    Raises:
        Refused: weights of a rule are too small for it, and others' are not ours to change.
    """
    new = deepcopy(route)
    for rule in _rules(new):
        led = [pair for pair in ours if any(ref["name"] == pair.stable for ref in _refs(rule, _home(route)))]
        sums = {pair: sum(_weight(ref) for ref in _of(rule, pair, _home(route))) for pair in led}
        totals = {pair: total for pair, total in sums.items() if total}  # others were switched off by somebody
        if not totals:
            continue
        least = min(totals.values())
        names = {name for pair in led for name in (pair.stable, pair.canary)}
        alone = all(_is_service(ref, _home(route)) and ref["name"] in names for ref in rule["backendRefs"])
        times = min(-(-_FINE // least), max(1, _MOST // max(totals.values()))) if alone else 1
        for pair, total in totals.items():
            canary = round(total * times * share)
            if abs(canary / (total * times) - share) > share * _NEAR:
                raise Refused(
                    f"HTTPRoute {route['metadata']['name']} can't give a canary {percent(share)}.",
                    why=f"It divides requests between us and others, and our weights there add up to {total}; "
                    "others' are not changed.",
                    next_step="make all of its weights a hundred times as large, then ask again",
                )
            _divide(rule, pair, _home(route), total * times - canary, canary)
    return new


def with_share(objects: Sequence[Node], canary: Iterable[Node], share: float) -> list[Node]:
    """Objects of stable whose routes give the canary that share.

    Raises:
        Refused: a route of a template of the project's own can't.
    """
    ours = pairs(objects, canary)
    return [shared(node, ours, share) if node["kind"] == KIND else node for node in objects]


def restored(route: Node, ours: Sequence[Pair], were: Sequence[int]) -> Node:
    """`route` without the canary, and with the weights that it had; where its rules are others now, with theirs."""
    new = deepcopy(route)
    now = weights(new, ours)
    for (rule, pair), weight in zip(_divided(new, ours), were if len(were) == len(now) else now, strict=True):
        rule["backendRefs"] = [
            ref for ref in rule["backendRefs"] if not (_is_service(ref, _home(route)) and ref["name"] == pair.canary)
        ]
        for ref in _of(rule, pair, _home(route)):
            ref["weight"] = weight
    return new


def lane_route(route: Node, ours: Sequence[Pair]) -> Node:
    """A route of ours beside `route`, for whoever sends the header: the canary, whatever its share is.

    One more header is a more specific match than the same rule without (HTTPRoute, "matches"). It goes with the route
    that it stands beside.
    """
    led = {pair.stable: pair.canary for pair in ours}
    rules = []
    for rule in _rules(route):
        canaries = [{**ref, "name": led[ref["name"]]} for ref in _refs(rule, _home(route)) if ref["name"] in led]
        if canaries:
            for ref in canaries:
                ref["weight"] = 1
            matches = [_with_header(match) for match in rule.get("matches") or [{}]]
            rules.append({**rule, "matches": matches, "backendRefs": canaries})
    metadata, spec = route["metadata"], route["spec"]
    owner = {"apiVersion": route["apiVersion"], "kind": route["kind"], "name": metadata["name"], "uid": metadata["uid"]}
    where = {key: deepcopy(spec[key]) for key in ("parentRefs", "hostnames") if key in spec}
    return {
        "apiVersion": route["apiVersion"],
        "kind": "HTTPRoute",
        "metadata": {"name": lane_name(str(metadata["name"])), "ownerReferences": [owner]},
        "spec": {**where, "rules": deepcopy(rules)},
    }


def lane_name(route: str) -> str:
    """What the route beside a route is called."""
    return f"deploy-lane-{route}"[:_LONGEST].rstrip("-.")


def refusal(route: Node | None) -> str:
    """Why users don't come by a route as it is now; empty where each Gateway that it names has taken it."""
    if route is None:
        return "it is gone"
    for ref in at(route, "spec", "parentRefs") or ():
        home = route["metadata"]["namespace"]
        named = f"{ref.get('namespace') or home}/{ref['name']}"
        parents = at(route, "status", "parents") or ()
        said = [_accepted(each) for each in parents if _names_same(each["parentRef"], ref, home)]
        now = [each for each in said if each.get("observedGeneration") == route["metadata"]["generation"]]
        if any(each["status"] == "True" for each in now):
            continue
        if not now:
            return f"no Gateway {named} says that it takes it; kubectl get gateways -A"
        return f"Gateway {named} does not take it: {now[0].get('reason')}: {now[0].get('message')}"
    return ""


def mixed(objects: Iterable[Node], copies: Mapping[str, int]) -> list[Node]:
    """Objects of a channel where a canary has its share by copies: stable's Services lead to the pods of both channels.

    So stable's callers meet the canary's pods, and policies on both sides let them.

    Args:
        copies: service -> copies of the canary.
    """
    return [_mixed(node, copies) for node in objects] if copies else list(objects)


def _mixed(node: Node, copies: Mapping[str, int]) -> Node:
    channel, service = at(node, "metadata", "labels", "channel"), service_of(node)
    if node["kind"] == "NetworkPolicy" and channel == STABLE:
        return _of_any_channel(node, "egress", "to", copies)
    if service not in copies:
        return node
    if node["kind"] == "NetworkPolicy" and channel == CANARY:
        return _of_any_channel(node, "ingress", "from")
    if node["kind"] == "Service" and channel == STABLE:
        selector = {key: value for key, value in node["spec"]["selector"].items() if key != "channel"}
        return {**node, "spec": {**node["spec"], "selector": selector}}
    if node["kind"] == "Deployment" and channel == CANARY:
        return {**node, "spec": {**node["spec"], "replicas": copies[service]}}
    return node


def _of_any_channel(policy: Node, direction: str, side: str, services: Container[str] | None = None) -> Node:
    """`policy`, where the other side is the project's own (of `services` alone, if any are named)."""
    new = deepcopy(policy)
    for rule in at(new, "spec", direction) or ():
        for peer in rule[side]:
            labels = at(peer, "podSelector", "matchLabels") or {}
            if "channel" in labels and (services is None or labels.get("app.kubernetes.io/name") in services):
                del labels["channel"]
    return new


def copies_for(share: float, stable: int) -> int:
    """How many copies a canary takes to have about that share, beside so many of stable."""
    return max(1, round(share * stable / (1 - share))) if share < 1 else stable


def lets_outsiders(service: str, objects: Iterable[Node]) -> bool:
    """Whether others than the project's own reach a service: its policy names their networks."""
    return any(
        "ipBlock" in peer
        for node in objects
        if node["kind"] == "NetworkPolicy" and service_of(node) == service
        for rule in at(node, "spec", "ingress") or ()
        for peer in rule.get("from") or ()
    )


def _divided(route: Node, ours: Sequence[Pair]) -> Iterator[tuple[Node, Pair]]:
    for rule in _rules(route):
        for pair in ours:
            if any(ref["name"] == pair.stable for ref in _refs(rule, _home(route))):
                yield rule, pair


def _divide(rule: Node, pair: Pair, home: str, stable: int, canary: int) -> None:
    refs: list[Node] = []
    for ref in rule["backendRefs"]:
        if _is(ref, pair.canary, home):
            continue
        refs.append(ref)
        if _is(ref, pair.stable, home):
            refs.append({**deepcopy(ref), "name": pair.canary, "weight": canary})
            ref["weight"], canary, stable = stable, 0, 0  # should one rule name it twice
    rule["backendRefs"] = refs


def _rules(route: Node) -> Sequence[Node]:
    return at(route, "spec", "rules") or ()


def _home(route: Node) -> str:
    return str(at(route, "metadata", "namespace") or "")


def _refs(rule: Node, home: str) -> list[Node]:
    return [ref for ref in rule.get("backendRefs") or () if _is_service(ref, home)]


def _of(rule: Node, pair: Pair, home: str) -> list[Node]:
    return [ref for ref in _refs(rule, home) if ref["name"] in (pair.stable, pair.canary)]


def _is(ref: Node, name: str, home: str) -> bool:
    return _is_service(ref, home) and bool(ref["name"] == name)


def _is_service(ref: Node, home: str) -> bool:
    """Whether it is a Service of the route's own namespace."""
    of_here = ref.get("namespace") in (None, "", home)
    return ref.get("kind", "Service") == "Service" and not ref.get("group") and of_here


def _weight(ref: Node) -> int:
    return int(ref.get("weight", 1))


def _with_header(match: Node) -> Node:
    header: dict[str, Any] = {"type": "Exact", "name": LANE_HEADER, "value": CANARY}
    return {**match, "headers": [*(match.get("headers") or ()), header]}


def _names_same(one: Node, other: Node, home: str) -> bool:
    """Whether both name the same listener of the same Gateway."""
    first, second = (
        (each["name"], each.get("namespace") or home, each.get("sectionName") or "") for each in (one, other)
    )
    return first == second


def _accepted(parent: Node) -> Node:
    found = [each for each in parent.get("conditions") or () if each["type"] == "Accepted"]
    return dict(found[0]) if found else {}
