"""What lanes were asked, as series that a chart draws: lanes side by side, in the same minutes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from provision.contract.rollout import LimitsDocument
    from provision.contract.seen import LaneTraffic, Point, ServiceTraffic


class Chart(NamedTuple):
    """One measure of all lanes."""

    title: str
    unit: str
    lines: Sequence[Mapping[str, Any]]  # name, lane, values
    limit: float | None = None  # drawn in
    limit_says: str = ""


class Charts(NamedTuple):
    """Those of a service; all have the same times."""

    at: Sequence[float]
    charts: Sequence[Chart]


def charts(service: ServiceTraffic, since: float, until: float, limits: LimitsDocument | None) -> Charts:
    """Of a service that somebody was asked for since; empty where nobody was."""
    lanes = service["lanes"]
    points = [point for lane in lanes.values() for point in lane.get("series", ())]
    if not points:
        return Charts((), ())
    step = points[0]["seconds"]
    first, last = min(point["at"] for point in points), max(point["at"] for point in points)
    first, last = max(since - since % step, first - step), max(last, until - until % step - step)
    at = [first + step * number for number in range(int((last - first) / step) + 1)]
    by_lane = {name: {point["at"]: point for point in lane.get("series", ())} for name, lane in lanes.items()}

    def line(name: str, lane: str, value: Any) -> dict[str, Any]:
        return {"name": name, "lane": lane, "values": [value(by_lane[lane].get(each)) for each in at]}

    made = [Chart("Requests a second", "1/s", [line(lane, lane, lambda p: _rate(p, step)) for lane in lanes])]
    stable = lanes.get("stable")
    limit = _errors_limit(stable, limits)
    made.append(Chart("Errors", "%", [line(lane, lane, _errors) for lane in lanes], limit, "the canary's limit"))
    times = [line(f"{lane} {which}", lane, _quantile(which)) for lane in lanes for which in ("p50", "p95")]
    ttft = (limits or {}).get("ttft_p95")
    made.append(Chart("Time to first byte", "s", times, ttft, "limit of p95"))
    if any("tokens_per_second" in point for point in points):
        tokens = [line(lane, lane, lambda p: p and p.get("tokens_per_second")) for lane in lanes]
        made.append(Chart("Tokens a second", "1/s", tokens))
    return Charts(at, made)


def _rate(point: Point | None, step: float) -> float:
    return round(point["requests"] / step, 4) if point else 0.0


def _errors(point: Point | None) -> float | None:
    return round(100.0 * point["errors"] / point["requests"], 3) if point and point["requests"] else None


def _quantile(which: str) -> Any:
    return lambda point: round(point["first_byte"][which], 5) if point and "first_byte" in point else None


def _errors_limit(stable: LaneTraffic | None, limits: LimitsDocument | None) -> float | None:
    """What the canary may fail, in percent: beyond what stable does."""
    if not limits or "errors" not in limits:
        return None
    seen = stable["seen"] if stable else None
    base = seen["errors"] / seen["requests"] if seen and seen["requests"] else 0.0
    return round(100.0 * (base + limits["errors"]), 3)
