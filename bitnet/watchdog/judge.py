"""From what was seen to what it means. Pure: the caller brings samples and the time.

Loading is not dead: a large model may load for minutes. Busy is not stalled: while any counter moves, the server
works, however slow. Stalled is a server with requests in flight of which nothing has moved for a while.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bitnet.errors import InvalidInput
from bitnet.watchdog.sample import Health, Sample


class Verdict(Enum):
    """How the server is."""

    LOADING = "loading"
    SERVING = "serving"
    WAITING = "waiting"  # silent, or without progress, but not yet for long enough
    STUCK_LOADING = "stuck loading"
    SILENT = "silent"
    STALLED = "stalled"

    @property
    def is_final(self) -> bool:
        """Whether only a restart helps."""
        return self in (Verdict.STUCK_LOADING, Verdict.SILENT, Verdict.STALLED)


@dataclass(frozen=True)
class Patience:
    """How long each state is borne, in seconds.

    Args:
        load: from start to the first "ready".
        silence: without an answer of `/health`, once it was ready.
        stall: with requests in flight and no progress. One decode step of a long prompt on a slow CPU may take
            most of a minute, so this should stay above that.

    Raises:
        InvalidInput: one of them is not above 0.
    """

    load: float = 600.0
    silence: float = 30.0
    stall: float = 120.0

    def __post_init__(self) -> None:
        if min(self.load, self.silence, self.stall) <= 0:
            raise InvalidInput(f"{self}: all must be above 0")


class Judge:
    """Judges one life of a server, from its start at `now`."""

    def __init__(self, patience: Patience, now: float) -> None:
        self._patience = patience
        self._started = now
        self._ready = False
        self._answered = now
        self._moved = now
        self._progress: tuple[float, ...] | None = None
        self.in_flight = 0

    def observe(self, sample: Sample, now: float) -> Verdict:
        """What the server is, with `sample` taken at `now`."""
        if sample.health is Health.READY:
            self._ready, self._answered = True, now
            return self._judge_progress(sample, now)
        if not self._ready:
            return Verdict.STUCK_LOADING if now - self._started > self._patience.load else Verdict.LOADING
        if sample.health is Health.LOADING:  # it was ready: it sleeps or swaps models, and answers
            self._answered = self._moved = now
            return Verdict.LOADING
        return Verdict.SILENT if now - self._answered > self._patience.silence else Verdict.WAITING

    def idle_seconds(self, now: float) -> float:
        """Seconds since something moved, or since there was nothing to do."""
        return now - self._moved

    def _judge_progress(self, sample: Sample, now: float) -> Verdict:
        if sample.in_flight is not None:
            self.in_flight = sample.in_flight
            if not sample.in_flight or sample.progress != self._progress:
                self._moved = now
            self._progress = sample.progress
        # Without an answer of /metrics the server is inside one step: its time counts as time without progress.
        if now - self._moved > self._patience.stall:
            return Verdict.STALLED
        return Verdict.SERVING if sample.in_flight is not None else Verdict.WAITING
