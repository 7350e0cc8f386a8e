"""When a rented machine is wanted: `Mon-Fri 08:00-20:00 Europe/Berlin`.

Days by their English first letters, one by one or from one to another; hours by the clock of that zone. What ends
before it begins ends on the next day. Zones are called as the time zone database (IANA) calls them.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = f"(?:{'|'.join(_DAYS)})"
_HOURS = re.compile(
    rf"(?P<days>{_DAY}(?:-{_DAY})?(?:,{_DAY}(?:-{_DAY})?)*) +"
    r"(?P<begin>[0-9]{2}:[0-9]{2})-(?P<end>[0-9]{2}:[0-9]{2}) +(?P<zone>[A-Za-z0-9_+/-]{1,60})"
)
_EXPECTED = 'expected days, hours and a time zone, such as "Mon-Fri 08:00-20:00 Europe/Berlin"'


@dataclass(frozen=True)
class Hours:
    """Attributes:
    text: as they were written.
    days: 0 is Monday.
    begin: minutes after midnight.
    end: likewise; later than `begin`, beyond 24 hours where that is on the next day.
    """

    text: str
    days: frozenset[int]
    begin: int
    end: int
    zone: str

    @property
    def clock(self) -> dt.tzinfo:
        """How time is told there."""
        import zoneinfo  # for the few declarations that name one

        return zoneinfo.ZoneInfo(self.zone)

    def windows(self, since: float, until: float) -> Iterator[tuple[float, float]]:
        """When machines are wanted between two times, all in seconds since 1970, one after the other."""
        clock = self.clock
        day = dt.datetime.fromtimestamp(since, clock).date() - dt.timedelta(days=1)
        last = dt.datetime.fromtimestamp(until, clock).date()
        while day <= last:
            if day.weekday() in self.days:
                begin, end = max(_at(day, self.begin, clock), since), min(_at(day, self.end, clock), until)
                if begin < end:
                    yield begin, end
            day += dt.timedelta(days=1)


def _at(day: dt.date, minutes: int, clock: dt.tzinfo) -> float:
    days, minute = divmod(minutes, 24 * 60)
    return dt.datetime.combine(
        day + dt.timedelta(days=days), dt.time(minute // 60, minute % 60, tzinfo=clock)
    ).timestamp()


def parse_hours(value: object) -> Hours:
    """Hours as they are written.

    Raises:
        ValueError: the value is none of that kind.
    """
    if isinstance(value, Hours):
        return value
    found = _HOURS.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(_EXPECTED)
    begin, end = _minutes(found["begin"]), _minutes(found["end"])
    if begin == 24 * 60:
        raise ValueError(_EXPECTED)
    hours = Hours(
        found[0], frozenset(_days(found["days"])), begin, end if end > begin else end + 24 * 60, found["zone"]
    )
    try:
        hours.clock  # noqa: B018
    except (LookupError, OSError, ValueError):
        raise ValueError(f'{found["zone"]} is no time zone known here; expected one such as "Europe/Berlin"') from None
    return hours


def _minutes(text: str) -> int:
    hour, minute = map(int, text.split(":"))
    if minute > 59 or 60 * hour + minute > 24 * 60:
        raise ValueError(_EXPECTED)
    return 60 * hour + minute


def _days(text: str) -> Iterator[int]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        begin = _DAYS.index(first)
        length = (_DAYS.index(last) - begin) % 7 if last else 0
        yield from ((begin + each) % 7 for each in range(length + 1))
