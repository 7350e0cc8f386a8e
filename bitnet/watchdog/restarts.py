"""How often and how soon a server is started again. Pure: the caller brings the time and the dice."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from bitnet.errors import InvalidInput


@dataclass(frozen=True)
class RestartPolicy:
    """When to start again and when to give up.

    Args:
        limit: restarts within `window` after which the watchdog gives up.
        window: seconds; restarts longer ago are forgotten.
        first: seconds before the first restart; doubles with each one within the window.
        longest: seconds, the longest wait.

    Raises:
        InvalidInput: a negative number, or a window of 0.
    """

    limit: int = 5
    window: float = 900.0
    first: float = 1.0
    longest: float = 60.0

    def __post_init__(self) -> None:
        if self.limit < 0 or self.window <= 0 or self.first < 0 or self.longest < 0:
            raise InvalidInput(f"{self}: no number may be negative, and the window must be above 0")


class Restarts:
    """The restarts of one watchdog."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._times: deque[float] = deque()

    def next_wait(self, now: float, dice: float) -> float | None:
        """Seconds until the next start, or None to give up. `dice`, 0 to 1, shortens the wait by up to half."""
        while self._times and now - self._times[0] > self._policy.window:
            self._times.popleft()
        if len(self._times) >= self._policy.limit:
            return None
        bound = min(self._policy.longest, self._policy.first * 2.0 ** len(self._times))
        self._times.append(now)
        return bound * (1 - dice / 2)
