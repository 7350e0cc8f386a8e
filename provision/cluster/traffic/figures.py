"""What Prometheus counted of both lanes since a step began: by its own clock, so that any laptop goes on.

Raw samples are asked for (HTTP API, "Range Vectors") and not `increase()`, which stretches what it saw to the whole of
a range: a verdict takes exact counts. A counter that falls began anew (Prometheus, "Counter"). What a series had before
the step does not count; one that begins later counts from nothing, where others show that Prometheus looked before.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from string import Template
from typing import TYPE_CHECKING, Any

from provision.agent.analysis import PACE_SECONDS, Lane, Seen, Sketch, Tokens
from provision.agent.analysis.sketch import MOST, edge_above, edge_below
from provision.errors import UsageError

if TYPE_CHECKING:
    from provision.cluster.traffic.prometheus import Prometheus
    from provision.project.rollout import Figures

_USERS = ("requests", "failed", "seconds")
_ENGINES = ("tokens", "token_seconds")
_BEFORE = 300.0  # seconds that are looked at before a step began: as long as a sample counts (Prometheus, "Staleness")

Series = Sequence[Mapping[str, Any]]  # each with `metric`, its labels, and `values`: pairs of a time and a text


@dataclass(frozen=True)
class Counted:
    """What was counted of one lane; times are known to lie between two edges of a histogram alone."""

    requests: int
    errors: int
    at_least: Sketch
    at_most: Sketch

    def lane(self, times: Sketch) -> Lane:
        return Lane(self.requests, self.errors, times)


@dataclass(frozen=True)
class Both:
    """A service: its canary and its stable."""

    canary: Counted
    stable: Counted
    paces: Sketch | None = None  # of an engine: the canary's tokens a second as a share of stable's

    @property
    def against(self) -> Seen:
        """As kindly to the canary as what was counted allows: what is worse so, is worse."""
        return Seen(self.canary.lane(self.canary.at_least), self.stable.lane(self.stable.at_most), self.paces)

    @property
    def for_it(self) -> Seen:
        """As hard on the canary as it allows: what is fine so, is fine."""
        return Seen(self.canary.lane(self.canary.at_most), self.stable.lane(self.stable.at_least), self.paces)

    @property
    def told(self) -> Seen:
        """For people."""
        return Seen(self.canary.lane(self.canary.at_most), self.stable.lane(self.stable.at_most), self.paces)


class Counting:
    """What a Prometheus counts of a project.

    Args:
        figures: which series count what.
        namespace: of the project.
    """

    def __init__(self, prometheus: Prometheus, figures: Figures, namespace: str) -> None:
        self._prometheus = prometheus
        self._figures = figures
        self._namespace = namespace

    def now(self) -> float:
        """Its clock."""
        return self._prometheus.now()

    def samples(self, service: str, routes: Iterable[str], began: float, now: float) -> dict[str, Series]:
        """What it has of a Service since `began`, and a little before: requests, failed, seconds."""
        names = {"namespace": self._namespace, "routes": "|".join(routes), "service": service}
        return self._of(_USERS, names, began, now)

    def paces(self, canary: str, stable: str, began: float, now: float, *, is_engine: bool) -> Sketch | None:
        """How the canary's tokens a second compare with stable's; None of what is no engine.

        Args:
            canary, stable: the Services of the two.
            is_engine: that is declared; else it is one where Prometheus has its counters.
        """
        ours, theirs = (
            self._of(_ENGINES, {"namespace": self._namespace, "service": name}, began, now) for name in (canary, stable)
        )
        if not is_engine and not (any(ours.values()) and any(theirs.values())):
            return None
        return compared(ours, theirs, began)

    def counted(self, canary: str, stable: str, routes: Iterable[str], began: float, now: float) -> Both:
        """What was counted since `began`.

        Args:
            canary, stable: the Services of the two.
            routes: the HTTPRoutes that lead to them.
        """
        lanes = {
            lane: self.samples(name, routes, began, now) for lane, name in (("canary", canary), ("stable", stable))
        }
        found = {what: {lane: each[what] for lane, each in lanes.items()} for what in _USERS}

        def sums(what: str, lane: str) -> int:
            return round(sum(increases(found[what][lane], began, watched(found["requests"].values(), began))))

        def lane(name: str) -> Counted:
            requests = sums("requests", name)
            buckets = found["seconds"][name]
            low, high = sketches(buckets, began, seen=watched(found["seconds"].values(), began))
            return Counted(requests, min(sums("failed", name), requests), low, high)

        return Both(lane("canary"), lane("stable"))

    def _of(self, figures: Iterable[str], names: Mapping[str, str], began: float, now: float) -> dict[str, Series]:
        return {what: self._series(getattr(self._figures, what), names, began, now) for what in figures}

    def _series(self, selector: str, names: Mapping[str, str], began: float, now: float) -> Series:
        span = math.ceil(now - began + _BEFORE)
        answer = self._prometheus.ask(f"{Template(selector).safe_substitute(names)}[{span}s]", now)
        if answer.get("resultType") != "matrix":
            raise UsageError(
                f"rollout.figures: {selector} is no selector of series.",
                why="Counters are read as they are: a name and labels, without a function.",
                next_step="docs/kubernetes.md has an example",
            )
        found: Series = answer["result"]
        return found


def watched(lanes: Iterable[Series], began: float) -> bool:
    """Whether Prometheus looked at what counts before a step began."""
    return any(float(time) < began for series in lanes for each in series for time, _ in each["values"])


def increases(series: Series, began: float, seen: bool) -> list[float]:
    """By how much each has grown since.

    Args:
        seen: whether one that was not there before began with nothing.
    """
    return [_increase(each["values"], began, seen) for each in series]


def _increase(values: Sequence[tuple[float, str]], began: float, seen: bool) -> float:
    return sum(grown for _, grown in grown_at(values, began, seen))


def grown_at(values: Sequence[tuple[float, str]], began: float, seen: bool) -> Iterator[tuple[float, float]]:
    """At each time since, by how much a series has grown from the one before. See `increases`."""
    since = [(float(time), float(value)) for time, value in values if float(time) >= began]
    is_new = seen and len(since) == len(values)
    before = 0.0 if is_new or not since else since[0][1]
    for time, value in since:
        yield time, value - before if value >= before else value
        before = value


def sketches(series: Series, began: float, *, seen: bool) -> tuple[Sketch, Sketch]:
    """A histogram's values where each is as small as its bucket allows, and as large (Prometheus, "Histogram")."""
    upto: dict[float, float] = {}
    for each, grown in zip(series, increases(series, began, seen), strict=True):
        edge = edge_of(each)
        if not math.isnan(edge):
            upto[edge] = upto.get(edge, 0.0) + grown
    return between(upto)


def compared(canary: Mapping[str, Series], stable: Mapping[str, Series], began: float) -> Sketch:
    """The canary's tokens a second as a share of stable's, time by time (`Seen.compare_paces`)."""
    every = [series for lane in (canary, stable) for what in _ENGINES for series in lane[what]]
    step = max([PACE_SECONDS, *map(_apart, every)])  # within which each is looked at
    seen = watched([every], began)
    ours, theirs = (_made(lane, began, step, seen) for lane in (canary, stable))
    found, nothing = Seen(paces=Sketch()), Tokens(0.0, 0.0)
    for time in sorted(ours.keys() & theirs.keys()):
        found.compare_paces(ours[time], nothing, theirs[time], nothing)
    return found.paces or Sketch()


def _made(lane: Mapping[str, Series], began: float, step: float, seen: bool) -> dict[int, Tokens]:
    """What the engines of a lane made in each step of time."""
    sums: dict[str, dict[int, float]] = {what: {} for what in _ENGINES}
    for what, into in sums.items():
        for each in lane[what]:
            for time, grown in grown_at(each["values"], began, seen):
                into[int((time - began) / step)] = into.get(int((time - began) / step), 0.0) + grown
    made, seconds = (sums[what] for what in _ENGINES)
    return {time: Tokens(made[time], seconds.get(time, 0.0)) for time in made}


def _apart(series: Mapping[str, Any]) -> float:
    """Seconds between two samples, as a rule."""
    times = [float(time) for time, _ in series["values"]]
    return median(after - before for before, after in itertools.pairwise(times)) if len(times) > 1 else 0.0


def edge_of(series: Mapping[str, Any]) -> float:
    """Of a bucket; not a number, where it is none."""
    try:
        return float(series["metric"].get("le", "nan"))
    except ValueError:
        return math.nan


def between(upto: Mapping[float, float]) -> tuple[Sketch, Sketch]:
    """As `sketches`, by how many values were at most each edge."""
    low: dict[int, int] = {}
    high: dict[int, int] = {}
    below, before = 0.0, 0
    for edge in sorted(upto):
        count = max(0, round(upto[edge]) - before)  # buckets are read one after another
        before += count
        if count:
            for sketch, number in ((low, edge_below(below)), (high, edge_above(min(edge, MOST)))):
                sketch[number] = sketch.get(number, 0) + count
        below = edge
    return Sketch(low), Sketch(high)
