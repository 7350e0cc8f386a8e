"""Which services requests get to through what stands before them: on their own host, or on another target's."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from provision.project.traffic import takes_port

if TYPE_CHECKING:
    from provision.project.service import Service
    from provision.project.target import Target

_RANGE = re.compile(r"\[(\d+):(\d+)\]")  # gpu-[01:16]
EVERYWHERE = "0.0.0.0"  # noqa: S104  who is let in has a certificate that is pinned


def is_fronted(target: Target, service: Service) -> bool:
    """Whether requests get to `service` through what stands before it: it takes the port that it is told."""
    return target.traffic is not None and service.port is not None and not service.on_demand and takes_port(service)


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
