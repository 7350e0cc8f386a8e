"""What the users of a service saw of two lanes in the same minutes; as much room for an hour as for a minute."""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional, TypedDict

from .sketch import Sketch


class LaneDocument(TypedDict):
    """A lane, as the keeper's file holds it."""

    requests: int
    errors: int
    first_byte: Dict[str, int]


class _Seen(TypedDict):
    canary: LaneDocument
    stable: LaneDocument


class SeenDocument(_Seen, total=False):
    """A service, as the keeper's file holds it."""

    paces: Dict[str, int]  # of an engine


# How long one comparison of paces goes on: shorter ones hang together more, longer ones are few.
PACE_SECONDS = 15.0


class Lane:
    """What was asked of one lane, and how that went. Whoever reads the front's log adds to it."""

    __slots__ = ("errors", "first_byte", "requests")

    def __init__(self, requests: int = 0, errors: int = 0, first_byte: Optional[Sketch] = None) -> None:
        self.requests = requests
        self.errors = errors  # of `requests`: status 5xx, or an answer that broke off at our end
        self.first_byte = first_byte or Sketch()  # seconds, of answers that are no errors

    def add(self, failed: bool, first_byte: float) -> None:
        """One request that has been answered, or hasn't.

        Args:
            first_byte: seconds from the whole request to the answer's first byte; nobody looks where it failed.
        """
        self.requests += 1
        if failed:
            self.errors += 1
        else:
            self.first_byte.add(first_byte)

    def include(self, other: Lane) -> None:
        """Count what another counted, such as one of each minute."""
        self.requests += other.requests
        self.errors += other.errors
        self.first_byte.extend([other.first_byte])

    def times(self, times: int) -> Lane:
        """As if the same had been seen so many times."""
        return Lane(self.requests * times, self.errors * times, self.first_byte.times(times))

    def as_dict(self) -> LaneDocument:
        return {"requests": self.requests, "errors": self.errors, "first_byte": self.first_byte.as_dict()}

    @classmethod
    def from_dict(cls, document: LaneDocument) -> Lane:
        return cls(document["requests"], document["errors"], Sketch.from_dict(document["first_byte"]))


class Tokens(NamedTuple):
    """An engine's own counters, summed over the programs of a lane; they only grow while no program starts anew."""

    made: float  # llamacpp:tokens_predicted_total
    seconds: float  # llamacpp:tokens_predicted_seconds_total


class Seen:
    """One service since a step began."""

    __slots__ = ("canary", "paces", "stable")

    def __init__(
        self, canary: Optional[Lane] = None, stable: Optional[Lane] = None, paces: Optional[Sketch] = None
    ) -> None:
        self.canary = canary or Lane()
        self.stable = stable or Lane()
        # Of an engine: the canary's tokens a second as a share of stable's, each time they were compared.
        self.paces = paces

    def compare_paces(self, canary: Tokens, canary_before: Tokens, stable: Tokens, stable_before: Tokens) -> None:
        """Count one comparison of what both made within the same `PACE_SECONDS`; none where one made nothing.

        Comparing them time by time takes out what both had in common, such as how busy the machine was.
        """
        ours, theirs = _pace(canary, canary_before), _pace(stable, stable_before)
        if ours and theirs and self.paces is not None:
            self.paces.add(ours / theirs)

    def times(self, times: int) -> Seen:
        """As if the same had been seen so many times."""
        return Seen(self.canary.times(times), self.stable.times(times), self.paces and self.paces.times(times))

    def as_dict(self) -> SeenDocument:
        document: SeenDocument = {"canary": self.canary.as_dict(), "stable": self.stable.as_dict()}
        if self.paces is not None:
            document["paces"] = self.paces.as_dict()
        return document

    @classmethod
    def from_dict(cls, document: SeenDocument) -> Seen:
        paces = Sketch.from_dict(document["paces"]) if "paces" in document else None
        return cls(Lane.from_dict(document["canary"]), Lane.from_dict(document["stable"]), paces)


def _pace(now: Tokens, before: Tokens) -> float:
    """Tokens a second; 0 where none were made, or a program started anew."""
    made, seconds = now.made - before.made, now.seconds - before.seconds
    return made / seconds if made > 0 and seconds > 0 else 0.0
