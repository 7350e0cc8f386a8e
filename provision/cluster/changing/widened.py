"""Policies while one release takes another's place: pods of both have the same labels, so both may do what either may.

They are widened before pods change, and say what is declared once the new pods are proven: until then those of before
serve, and those may be all that does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from provision.cluster.server.at_once import ours
from provision.cluster.server.objects import Node, at, name_of

if TYPE_CHECKING:
    from provision.cluster.server.client import Api

_KIND = "NetworkPolicy"


def for_both(api: Api, wanted: Iterable[Node], applyset: str) -> list[Node]:
    """`wanted`, with policies that are `widened` by what stands."""
    there = ours(api, _KIND, applyset)
    return [widened(node, there.get(name_of(node))) if node["kind"] == _KIND else node for node in wanted]


def widened(policy: Node, live: Node | None) -> Node:
    """`policy` with the rules that `live` has besides; itself where there are none."""
    rules = {way: at(policy, "spec", way) or [] for way in ("ingress", "egress")}
    more = {way: [each for each in at(live, "spec", way) or () if each not in has] for way, has in rules.items()}
    if not any(more.values()):
        return policy
    both = {way: [*has, *more[way]] for way, has in rules.items() if has or more[way]}
    return {**policy, "spec": {**policy["spec"], **both}}
