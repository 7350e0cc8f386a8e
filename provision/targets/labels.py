"""What the label of a rented machine says, for whoever comes later: its place, its nonce, its end, what it may cost."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from provision.providers.face import Machine

GIVEN_UP = "-lost"  # behind the place of a machine that lost it to another
_LABEL = re.compile(
    r"(?P<place>deploy/[^/ ]+/[^/ ]+/\d+(?:-lost)?) (?P<nonce>[0-9a-f]{16}) (?P<ends>\d{8}T\d{6}Z)"
    r"( \$(?P<share>\d{1,9}\.\d\d))?"
)
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Label:
    """What a machine's label says.

    Attributes:
        ends: in seconds since 1970, by the provider's clock.
        share: dollars that the machine may cost; None: an earlier version rented it, and its guard knows no limit.
    """

    place: str
    nonce: str
    ends: float
    share: float | None = None

    @classmethod
    def read(cls, text: str) -> Label | None:
        """None: it is not one of ours."""
        found = _LABEL.fullmatch(text)
        if found is None:
            return None
        ends = dt.datetime.strptime(found["ends"], _STAMP).replace(tzinfo=dt.UTC)
        share = None if found["share"] is None else float(found["share"])
        return cls(found["place"], found["nonce"], ends.timestamp(), share)

    def __str__(self) -> str:
        share = "" if self.share is None else f" ${self.share:.2f}"
        return f"{self.place} {self.nonce} {dt.datetime.fromtimestamp(self.ends, dt.UTC).strftime(_STAMP)}{share}"

    def is_lost(self, machine: Machine) -> bool:
        """Whether it holds no place of the target any more."""
        return machine.loss is not None or self.place.endswith(GIVEN_UP)

    def granted(self, machine: Machine, now: float) -> float:
        """What the machine may cost in all; one that is lost costs its disk at most from now on."""
        if self.is_lost(machine):
            return machine.cost(now) + machine.stopped_per_hour * max(self.ends - now, 0.0) / 3600
        if self.share is not None:
            return self.share
        return machine.cost(now) + machine.per_hour * max(self.ends - now, 0.0) / 3600
