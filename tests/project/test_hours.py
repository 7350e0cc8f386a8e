"""When a rented machine is wanted, by the clock of the place that is named."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.project.hours import parse_hours


def _at(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("hours", "since", "until", "windows"),
    [
        (
            "Mon-Fri 08:00-20:00 Europe/Berlin",
            "2026-03-27T12:00Z",  # a Friday; the clocks go forward on Sunday
            "2026-03-31T00:00Z",
            [("2026-03-27T12:00Z", "2026-03-27T19:00Z"), ("2026-03-30T06:00Z", "2026-03-30T18:00Z")],
        ),
        (
            "Fri,Sun 20:00-06:00 UTC",
            "2026-05-02T01:00Z",
            "2026-05-04T02:00Z",
            [("2026-05-02T01:00Z", "2026-05-02T06:00Z"), ("2026-05-03T20:00Z", "2026-05-04T02:00Z")],
        ),
        (
            "Sat-Mon 00:00-24:00 Asia/Tokyo",
            "2026-05-01T00:00Z",
            "2026-05-09T00:00Z",
            [
                ("2026-05-01T15:00Z", "2026-05-02T15:00Z"),
                ("2026-05-02T15:00Z", "2026-05-03T15:00Z"),
                ("2026-05-03T15:00Z", "2026-05-04T15:00Z"),
                ("2026-05-08T15:00Z", "2026-05-09T00:00Z"),
            ],
        ),
        ("Wed 08:00-20:00 UTC", "2026-05-02T01:00Z", "2026-05-04T02:00Z", []),
    ],
)
def test_windows_are_of_the_place_s_own_clock(
    hours: str, since: str, until: str, windows: list[tuple[str, str]]
) -> None:
    found = list(parse_hours(hours).windows(_at(since), _at(until)))
    assert found == [(_at(begin), _at(end)) for begin, end in windows]


@given(st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2030, 1, 1)), st.integers(1, 30 * 86400))
def test_each_moment_is_in_a_window_exactly_when_its_clock_says_so(begin: dt.datetime, seconds: int) -> None:
    hours = parse_hours("Tue-Thu,Sat 09:30-17:15 America/New_York")
    since = begin.replace(tzinfo=dt.UTC).timestamp()
    at = since + seconds * 0.37
    clock = dt.datetime.fromtimestamp(at, hours.clock)

    inside = any(first <= at < last for first, last in hours.windows(since, since + seconds))

    assert inside == (clock.strftime("%a") in "TueWedThuSat" and "09:30" <= clock.strftime("%H:%M") < "17:15")


@pytest.mark.parametrize(
    "text",
    [
        "Mon-Fri 8:00-20:00 UTC",
        "Mon-Fri 08:00-25:00 UTC",
        "Mon-Fri 24:00-20:00 UTC",
        "Mon-Fri 08:61-20:00 UTC",
        "Mo 08:00-20:00 UTC",
        "Mon-Fri 08:00-20:00",
        "Mon-Fri 08:00-20:00 ../../etc/passwd",
        "Mon-Fri 08:00-20:00 /etc/localtime",
    ],
)
def test_what_no_clock_can_say_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_hours(text)
