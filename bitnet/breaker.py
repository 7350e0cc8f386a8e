"""A circuit breaker: what fails again and again is left alone for a while, then tried once.

Pure: the caller says what time it is, in seconds of a clock that only goes forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bitnet.errors import CircuitOpen, InvalidInput


class State(Enum):
    """Where a breaker stands."""

    CLOSED = "closed"  # launches go through
    OPEN = "open"  # launches are refused until the cool-down is over
    TRYING = "trying"  # one launch is on its way; its outcome decides


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens and for how long.

    Args:
        failures: so many failures in a row open it.
        cool_down: seconds until one attempt is let through.

    Raises:
        InvalidInput: one of them is not above 0.
    """

    failures: int = 5
    cool_down: float = 30.0

    def __post_init__(self) -> None:
        if self.failures < 1 or self.cool_down <= 0:
            raise InvalidInput(f"BreakerPolicy: failures={self.failures}, cool_down={self.cool_down} must be above 0")


class CircuitBreaker:
    """The breaker of one backend. Each `admit` is answered by exactly one of `succeed`, `fail` and `forget`."""

    def __init__(self, name: str, policy: BreakerPolicy) -> None:
        self.name = name
        self.policy = policy
        self.state = State.CLOSED
        self._failures = 0
        self._opened_at = 0.0

    def check(self, now: float) -> None:
        """Refuse what `admit` would refuse, and change nothing.

        Raises:
            CircuitOpen: as `admit`.
        """
        wait = self._opened_at + self.policy.cool_down - now
        if self.state is State.TRYING or (self.state is State.OPEN and wait > 0):
            raise CircuitOpen(self.name, retry_after=max(wait, 0.0))

    def admit(self, now: float) -> None:
        """Let one launch through.

        Raises:
            CircuitOpen: the breaker is open, or its one attempt is still on its way.
        """
        self.check(now)
        if self.state is State.OPEN:
            self.state = State.TRYING

    def succeed(self) -> None:
        """The launch went well: all is forgotten."""
        self.state = State.CLOSED
        self._failures = 0

    def fail(self, now: float) -> bool:
        """The launch failed. True if that opened the breaker."""
        self._failures += 1
        opens = self.state is State.TRYING or (self.state is State.CLOSED and self._failures >= self.policy.failures)
        if opens:
            self.state = State.OPEN
            self._opened_at = now
        return opens

    def forget(self) -> None:
        """The launch ended without telling anything, say because its caller went away."""
        if self.state is State.TRYING:
            # The cool-down is over already: the next one may try.
            self.state = State.OPEN
