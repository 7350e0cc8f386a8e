"""What the watchdog knows at the moment, as health and as metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from bitnet.watchdog.judge import Verdict


class WatchState:
    """Read by the listener's threads, written by the watchdog."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.verdict = Verdict.LOADING
        self.pid = 0
        self.draining = False
        self._restarts = Counter(
            "bitnet_watchdog_restarts_total", "Starts after a failure, by reason.", ["reason"], registry=self.registry
        )
        self._up = Gauge("bitnet_watchdog_up", "1 while the server serves.", registry=self.registry)
        self._in_flight = Gauge(
            "bitnet_watchdog_requests_in_flight",
            "Requests worked on or waiting.",
            registry=self.registry,
        )
        self._idle = Gauge(
            "bitnet_watchdog_seconds_without_progress",
            "Seconds since a counter of the server moved, or since it had nothing to do.",
            registry=self.registry,
        )

    def metrics(self) -> bytes:
        """Prometheus' text."""
        return generate_latest(self.registry)

    def health(self) -> tuple[bool, str]:
        """Whether requests should be sent to the server, and a word on it."""
        if self.draining:
            return False, "draining"
        if not self.pid:
            return False, "not running"
        return self.verdict in (Verdict.SERVING, Verdict.WAITING), self.verdict.value

    def started(self, pid: int) -> None:
        """A server was started."""
        self.pid, self.verdict, self.draining = pid, Verdict.LOADING, False
        self._up.set(0)

    def ended(self) -> None:
        """It is gone."""
        self.pid = 0
        self._up.set(0)
        self._in_flight.set(0)

    def restarted(self, reason: str) -> None:
        """It had to go for `reason`."""
        self._restarts.labels(reason).inc()

    def seen(self, verdict: Verdict, in_flight: int, idle: float) -> bool:
        """Take note of a look; whether the verdict is news."""
        news, self.verdict = verdict is not self.verdict, verdict
        self._up.set(verdict is Verdict.SERVING)
        self._in_flight.set(in_flight)
        self._idle.set(idle)
        return news
