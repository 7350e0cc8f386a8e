"""One front for many machines: the host of another target leads to those of this one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from provision.project.section import Section
from provision.project.traffic import is_fronted
from provision.project.values import Name

if TYPE_CHECKING:
    from provision.project.service import Service
    from provision.project.target import Target

_RANGE = re.compile(r"\[(\d+):(\d+)\]")  # gpu-[01:16]
EVERYWHERE = "0.0.0.0"  # noqa: S104  who is let in has a certificate that is pinned


class Front(Section):
    """The target whose hosts lead to these; theirs then admit nobody else at services' ports, over TLS."""

    target: Name
    """That target: it has traffic, and these services none of its own programs."""
    repeat: Literal["safe", "any"] = "safe"
    """Which requests are asked of another machine where one breaks off before it has begun to answer: "safe" those that
    may be asked twice (GET, HEAD, OPTIONS, PUT, DELETE), "any" also POST, as of a model's answers."""


def behind(targets: Mapping[str, Target], target: Target) -> dict[str, Target]:
    """By name, the targets whose machines `target` is the front of."""
    return {name: each for name, each in targets.items() if each.front and targets.get(each.front.target) == target}


def services_behind(targets: Mapping[str, Target], services: Mapping[str, Service], target: Target) -> dict[str, str]:
    """The services that the front of `target` leads to machines for -> the target that those are of."""
    return {
        service: name
        for name, each in behind(targets, target).items()
        for service in services
        if each.runs(service) and not target.runs(service) and is_fronted(each, services[service])
    }


def machines(target: Target) -> int:
    """How many hosts a target has at most."""
    if target.provider:
        return target.machines
    ranges = ([int(last) - int(first) + 1 for first, last in _RANGE.findall(host.text)] for host in target.hosts)
    return sum(math.prod(each) for each in ranges)
