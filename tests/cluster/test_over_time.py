"""What Prometheus counted, as points of a series."""

from __future__ import annotations

from typing import Any

import pytest

from provision.cluster.over_time import points
from tests.cluster.test_figures import series

BEGAN = 120.0
LOOKED = {"requests": True, "failed": True, "seconds": True}


def counted(*requests: tuple[float, float], failed: Any = (), seconds: Any = ()) -> dict[str, Any]:
    return {"requests": [series(*requests)], "failed": [series(*failed)], "seconds": list(seconds)}


# Samples of a counter; requests by when they came, of each half minute.
CAME: list[tuple[list[tuple[float, float]], dict[float, int]]] = [
    ([(115, 7), (125, 9), (149, 12), (151, 13)], {120: 3, 150: 1}),
    ([(115, 7), (125, 9), (135, 2)], {120: 2}),  # it began anew, and has counted two since
    ([(115, 7), (185, 7)], {}),  # nobody came
    ([], {}),
    ([(121, 4), (185, 6)], {120: 4, 180: 2}),  # one that is new counts from nothing
]


@pytest.mark.parametrize(("samples", "came"), CAME)
def test_requests_stand_where_they_came(samples: list[tuple[float, float]], came: dict[float, int]) -> None:
    found = points(counted(*samples), BEGAN, 30.0, LOOKED)
    assert {each["at"]: each["requests"] for each in found} == came


def test_each_point_has_its_errors_and_how_long_its_answers_took() -> None:
    buckets = [
        series((115, 0), (121, 0), (125, slow), (155, slow + quick), le=le)
        for le, slow, quick in (("0.1", 0, 90), ("1", 10, 100), ("+Inf", 10, 100), ("none", 3, 3))
    ]
    first, second = points(
        counted((115, 0), (121, 0), (125, 10), (155, 110), failed=((121, 0), (125, 4)), seconds=buckets),
        BEGAN,
        30.0,
        LOOKED,
    )
    assert (first["errors"], second["errors"]) == (4, 0)
    assert first["first_byte"]["p50"] == pytest.approx(1.0, rel=0.03)
    assert second["first_byte"]["p50"] == pytest.approx(0.1, rel=0.03)
    assert second["first_byte"]["p95"] == pytest.approx(1.0, rel=0.03)


def test_all_in_all_is_one_point() -> None:
    (whole,) = points(counted((121, 7), (125, 9), (185, 12)), BEGAN, float("inf"), LOOKED)
    assert whole["requests"] == 12  # it began then, where others were looked at before
