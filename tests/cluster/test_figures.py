"""What is read out of samples of Prometheus, and what follows from times that are known roughly."""

from __future__ import annotations

from typing import Any

import pytest

from provision.agent.analysis import Move, Sketch
from provision.cluster.traffic.figures import Both, Counted, compared, increases, sketches, watched
from provision.cluster.traffic.verdicts import decide
from provision.contract.rollout import RolloutDocument

BEGAN = 100.0


def series(*values: tuple[float, float], **labels: str) -> dict[str, Any]:
    return {"metric": labels, "values": [[time, str(value)] for time, value in values]}


# Samples of one series; whether Prometheus looked before; by how much it has grown since 100.
GROWN: list[tuple[list[tuple[float, float]], bool, float]] = [
    ([(95, 7), (105, 9), (115, 12)], True, 3),  # what came before the first look at the step is not the step's
    ([(105, 4), (115, 6)], True, 6),  # it began after the step did
    ([(105, 4), (115, 6)], False, 2),  # nobody knows what it had
    ([(95, 7), (105, 9), (115, 2), (125, 3)], True, 3),  # a gateway that began anew
    ([(95, 7)], True, 0),
]


@pytest.mark.parametrize(("values", "seen", "grown"), GROWN)
def test_a_counter_is_counted_from_when_the_step_began(
    values: list[tuple[float, float]], seen: bool, grown: float
) -> None:
    assert increases([series(*values)], BEGAN, seen) == [grown]


def test_prometheus_looked_before_where_any_lane_was_seen_before() -> None:
    new, old = [series((105, 1))], [series((95, 1))]
    assert watched([new, old], BEGAN)
    assert not watched([new, new], BEGAN)


def test_a_time_lies_between_the_edges_of_its_bucket() -> None:
    buckets = [series((95, 0), (105, 0), (115, count), le=le) for le, count in (("0.1", 3), ("0.3", 5), ("+Inf", 6))]

    low, high = sketches(buckets, BEGAN, seen=True)

    assert low.total == high.total == 6
    assert high.quantile(0.5) == pytest.approx(0.1, rel=0.03)
    assert low.quantile(0.5) == pytest.approx(1e-4, rel=0.03)
    assert low.quantile(0.8) == pytest.approx(0.1, rel=0.03)


DOCUMENT: RolloutDocument = {
    "steps": [0.1],
    "each": 60.0,
    "at_most": 120.0,
    "undecided": "hold",
    "abort": {"errors": 0.02, "slower": 0.25},
}


def lane(at_least: float, at_most: float, requests: int = 5000, errors: int = 0) -> Counted:
    low, high = Sketch(), Sketch()
    for sketch, value in ((low, at_least), (high, at_most)):
        sketch.add(value)
    return Counted(requests, errors, low.times(requests), high.times(requests))


# The canary; stable; what follows after the step's time.
DECIDED: list[tuple[Counted, Counted, Move]] = [
    (lane(0.100, 0.105), lane(0.100, 0.105), Move.PROMOTE),
    (lane(0.200, 0.210), lane(0.100, 0.105), Move.ABORT),
    (lane(0.100, 0.300), lane(0.100, 0.300), Move.WAIT),  # buckets too wide to tell
    (lane(0.300, 1.200), lane(0.001, 0.100), Move.ABORT),  # but not so wide that nothing can be told
    (lane(0.300, 1.200), lane(0.100, 0.300), Move.WAIT),  # it may be 0.3 s, or 12 times as long
    (lane(0.100, 0.105, errors=400), lane(0.100, 0.105), Move.ABORT),
]


@pytest.mark.parametrize(("canary", "stable", "move"), DECIDED)
def test_what_may_be_fine_is_not_worse_and_what_may_be_worse_is_not_fine(
    canary: Counted, stable: Counted, move: Move
) -> None:
    assert decide(DOCUMENT, 0, 60.0, {"web": Both(canary, stable)}).move is move


def engine(pace: float, offset: float, apart: float = 15.0, restarts: bool = False) -> dict[str, list[dict[str, Any]]]:
    """What Prometheus has of an engine that is never idle, looked at from `offset` after the step began on."""
    times = [BEGAN + offset + apart * number for number in range(-2, 40)]
    seconds = [(time - BEGAN + 100 if not restarts or time < 400 else time - 400) for time in times]
    return {
        "tokens": [series(*zip(times, (each * pace for each in seconds), strict=True))],
        "token_seconds": [series(*zip(times, seconds, strict=True))],
    }


def judged(canary: dict[str, list[dict[str, Any]]], stable: dict[str, list[dict[str, Any]]]) -> Both:
    counted = lane(0.1, 0.105)
    return Both(counted, counted, compared(canary, stable, BEGAN))


# The canary's engine, and stable's; what follows where it may make 20 % fewer tokens a second.
PACES: list[tuple[dict[str, list[dict[str, Any]]], dict[str, list[dict[str, Any]]], Move]] = [
    (engine(20, 0), engine(20, 4), Move.PROMOTE),
    (engine(10, 0), engine(20, 4), Move.ABORT),
    (engine(20, 1, apart=60), engine(20, 44, apart=60), Move.PROMOTE),  # looked at seldom, and apart
    (engine(10, 1, apart=60), engine(20, 44, apart=60), Move.ABORT),
    (engine(20, 0, restarts=True), engine(20, 4), Move.PROMOTE),
    ({"tokens": [], "token_seconds": []}, engine(20, 4), Move.WAIT),  # nobody looks at the canary's
]


@pytest.mark.parametrize(("canary", "stable", "move"), PACES)
def test_engines_are_compared_by_their_own_counters(
    canary: dict[str, list[dict[str, Any]]], stable: dict[str, list[dict[str, Any]]], move: Move
) -> None:
    rollout: RolloutDocument = {**DOCUMENT, "abort": {"tokens_per_second": -0.2}}

    decision = decide(rollout, 0, 60.0, {"llm": judged(canary, stable)})

    assert decision.move is move, decision.findings
