"""What Prometheus counted of each lane over time, as hosts' own rings tell it: for who looks, and judges nothing.

Of the same samples as a verdict (`figures`). A time is told as the edge of its bucket: it was at most that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provision.cluster import rolling
from provision.cluster.kept.inventory import Inventory
from provision.cluster.traffic.figures import Series, between, edge_of, grown_at, watched
from provision.cluster.traffic.weighing import Weighing
from provision.contract.slots import CANARY, STABLE

if TYPE_CHECKING:
    from provision.cluster.project_there import ProjectThere
    from provision.contract.rollout import LimitsDocument
    from provision.contract.seen import Figures, LaneTraffic, Point, RolloutSeen, ServiceTraffic

_QUANTILES = {"p50": 0.5, "p95": 0.95}


@dataclass(frozen=True)
class OverTime:
    """Who got which request, and how that went; as `Traffic` of hosts has it."""

    since: float
    at: float  # by Prometheus' clock
    rollout: RolloutSeen | None
    services: Mapping[str, ServiceTraffic]

    @property
    def limits(self) -> LimitsDocument | None:
        return self.rollout["record"]["document"]["abort"] if self.rollout else None


def over_time(there: ProjectThere, minutes: int, points: int) -> OverTime:
    """The last minutes, in about so many points. No step of a rollout is taken: that is `rollout watch`'s.

    Raises:
        DeployError: the cluster or Prometheus does not answer.
    """
    known = there.book.read() if there.demand_namespace() else Inventory()
    prometheus = rolling.prometheus(there)
    now = prometheus.now()
    began, step = now - 60.0 * minutes, float(math.ceil(60 * minutes / points))
    weighing = Weighing(there.api, there.book, there.project.name, there.tell)
    services: dict[str, ServiceTraffic] = {}
    for service, lanes, names in weighing.lanes_led(known):
        found = {lane: prometheus.samples(name, names, began, now) for lane, name in lanes.items()}
        shares = {CANARY: known.shares.get(CANARY, 0.0), STABLE: 1.0 - known.shares.get(CANARY, 0.0)}
        told = {lane: _lane(each, shares[lane], began, step, found.values()) for lane, each in found.items()}
        services[service] = {"port": 0, "mode": "http", "held": 0, "lanes": told}
    return OverTime(began, now, rolling.looked_at(there, known), services)


def _lane(
    found: Mapping[str, Series], share: float, began: float, step: float, others: Iterable[Mapping[str, Series]]
) -> LaneTraffic:
    looked = {what: watched([each[what] for each in others], began) for what in found}
    series = points(found, began, step, looked)
    (whole,) = points(found, began, math.inf, looked) or [_nobody()]
    seen: Figures = {key: value for key, value in whole.items() if key not in ("at", "seconds")}  # type: ignore[assignment]
    return {"share": share, "programs": [], "seen": seen, "series": series}


def _nobody() -> Point:
    return {"at": 0.0, "seconds": 0.0, "requests": 0, "errors": 0, "bytes": 0}


def points(found: Mapping[str, Series], began: float, step: float, looked: Mapping[str, bool]) -> list[Point]:
    """One lane's samples as points; none of minutes in which nobody came. Pure.

    Args:
        step: seconds of each; infinite for one in all.
        looked: whether what was not there before began with nothing: what -> as `figures.increases` takes it.
    """

    def begins(time: float) -> float:
        return time - time % step if math.isfinite(step) else began

    counts: dict[str, dict[float, float]] = {"requests": {}, "failed": {}}
    for what, into in counts.items():
        for each in found[what]:
            for time, grown in grown_at(each["values"], began, looked[what]):
                into[begins(time)] = into.get(begins(time), 0.0) + grown
    upto: dict[float, dict[float, float]] = {}
    for each in found["seconds"]:
        if math.isnan(edge := edge_of(each)):
            continue
        for time, grown in grown_at(each["values"], began, looked["seconds"]):
            buckets = upto.setdefault(begins(time), {})
            buckets[edge] = buckets.get(edge, 0.0) + grown
    made: list[Point] = []
    for at in sorted(counts["requests"]):
        if not (requests := round(counts["requests"][at])):
            continue
        errors = min(requests, round(counts["failed"].get(at, 0.0)))
        point: Point = {"at": at, "seconds": step, "requests": requests, "errors": errors, "bytes": 0}
        _, most = between(upto.get(at, {}))
        if most.total:
            point["first_byte"] = {name: most.quantile(share) or 0.0 for name, share in _QUANTILES.items()}
        made.append(point)
    return made
