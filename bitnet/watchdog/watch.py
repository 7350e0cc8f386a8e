"""The watchdog's loop: start, look, judge, end, start again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from bitnet.capture import BoundedCapture
from bitnet.child import Child
from bitnet.telemetry import Telemetry
from bitnet.watchdog.judge import Judge, Patience, Verdict
from bitnet.watchdog.restarts import RestartPolicy, Restarts
from bitnet.watchdog.sample import Sample, take_sample
from bitnet.watchdog.state import WatchState

_KEPT_OUTPUT = 64 << 10
_LAST_LINES = 5


class Ended(Enum):
    """How a watch ended."""

    STOPPED = 0  # asked to
    GAVE_UP = 1  # too many restarts


@dataclass(frozen=True)
class WatchOptions:
    """What is watched and how.

    Attributes:
        command: the server's argument list.
        url: where it answers, without a trailing slash.
        interval: seconds between two looks.
        poll_timeout: seconds that one answer may take.
        drain: seconds that requests in flight get when the server is asked to stop.
        grace: seconds between SIGTERM and SIGKILL.
        api_key: sent along with each look, if the server wants one.
    """

    command: Sequence[str]
    url: str
    interval: float = 2.0
    poll_timeout: float = 5.0
    drain: float = 30.0
    grace: float = 5.0
    api_key: str = ""
    patience: Patience = field(default_factory=Patience)
    restarts: RestartPolicy = field(default_factory=RestartPolicy)


class Watchdog:
    """Keeps one server working. `run` returns when it was stopped, or gave up."""

    def __init__(
        self,
        options: WatchOptions,
        environment: Mapping[str, str],
        telemetry: Telemetry,
        *,
        on_output: Callable[[int, bytes], None] | None = None,
    ) -> None:
        self.options = options
        self.state = WatchState()
        self._environment = environment
        self._telemetry = telemetry
        self._on_output = on_output or _to_own_streams
        self._restarts = Restarts(options.restarts)
        self._stop = asyncio.Event()
        self._renew = asyncio.Event()
        self._hurry = asyncio.Event()

    def stop(self) -> None:
        """Drain, end the server, and return from `run`. Asking twice skips the drain."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def renew(self) -> None:
        """Drain and start the server again; counts as no failure."""
        self._renew.set()

    async def run(self, *, signals: bool = False) -> Ended:
        """Watch until stopped. With `signals`, SIGTERM and SIGINT stop, SIGHUP renews."""
        if signals:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, self.stop)
            loop.add_signal_handler(signal.SIGINT, self.stop)
            loop.add_signal_handler(signal.SIGHUP, self.renew)
        while not self._stop.is_set():
            reason = await self._one_life()
            if self._stop.is_set():
                break
            if reason == "renewed":
                continue
            self.state.restarted(reason)
            wait = self._restarts.next_wait(time.monotonic(), random.random())  # noqa: S311 - jitter
            if wait is None:
                self._telemetry("watch.gave_up", reason=reason, restarts=self.options.restarts.limit)
                return Ended.GAVE_UP
            self._telemetry("watch.restarting", reason=reason, wait=round(wait, 3))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait)
        self._telemetry("watch.stopped")
        return Ended.STOPPED

    async def _one_life(self) -> str:
        """Start the server and watch it until it has to go; why it had to."""
        kept = BoundedCapture(_KEPT_OUTPUT)

        def arrived(stream: int, data: bytes) -> None:
            kept.feed(data)
            self._on_output(stream, data)

        child = Child(_tied_to_us(self.options.command), arrived, env=self._environment, grace=self.options.grace)
        self._telemetry("watch.started", pid=child.pid, url=self.options.url)
        self.state.started(child.pid)
        exited = asyncio.ensure_future(child.wait())
        try:
            reason = await self._watch_until_bad(exited)
        finally:
            await child.gone()
            exited.cancel()
            self.state.ended()
        last = [line for line in kept.text().splitlines() if line.strip()][-_LAST_LINES:]
        self._telemetry("watch.ended", pid=child.pid, reason=reason, returncode=child.returncode, last_lines=last)
        return reason

    async def _watch_until_bad(self, exited: asyncio.Future[int]) -> str:
        judge = Judge(self.options.patience, time.monotonic())
        while not exited.done():
            if self._stop.is_set() or self._renew.is_set():
                await self._drained(judge, exited)
                renewed = self._renew.is_set() and not self._stop.is_set()
                self._renew.clear()
                return "renewed" if renewed else "stopped"
            verdict = await self._look(judge, self._stop, self._renew)
            if verdict is not None and verdict.is_final:
                return verdict.value
            await self._pause(exited, self.options.interval)
        return "exited"

    async def _look(self, judge: Judge, *unless: asyncio.Event) -> Verdict | None:
        """None where one of `unless` came before the answer, which is waited for no longer."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sample] = loop.create_future()

        def tell(sample: Sample) -> None:
            if not answer.cancelled():
                answer.set_result(sample)

        def look() -> None:
            sample = take_sample(self.options.url, self.options.poll_timeout, self.options.api_key)
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(tell, sample)

        # No executor: the end of the program would wait for its threads.
        threading.Thread(target=look, daemon=True).start()
        wakes = [asyncio.ensure_future(event.wait()) for event in unless]
        waited: list[asyncio.Future[Any]] = [answer, *wakes]
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wake in wakes:
                wake.cancel()
        if not answer.done():
            answer.cancel()
            return None
        sample = answer.result()
        now = time.monotonic()
        verdict = judge.observe(sample, now)
        if self.state.seen(verdict, judge.in_flight, judge.idle_seconds(now)):
            self._telemetry("watch.verdict", verdict=verdict.value, in_flight=judge.in_flight, detail=sample.detail)
        return verdict

    async def _drained(self, judge: Judge, exited: asyncio.Future[int]) -> None:
        """Wait until nothing is in flight. llama-server itself drops what it works on when it gets SIGTERM."""
        self.state.draining = True
        self._telemetry("watch.draining", in_flight=judge.in_flight, seconds=self.options.drain)
        deadline = time.monotonic() + self.options.drain
        while not exited.done() and not self._hurry.is_set() and time.monotonic() < deadline:
            verdict = await self._look(judge, self._hurry)
            if verdict is None:
                return
            idle = verdict is Verdict.SERVING and not judge.in_flight
            if idle or verdict is Verdict.LOADING or verdict.is_final:
                return
            await self._pause(exited, min(self.options.interval, 0.25))

    async def _pause(self, exited: asyncio.Future[int], seconds: float) -> None:
        """Sleep, but wake up for an exit or a request to stop or renew."""
        asked: list[asyncio.Event] = [] if self.state.draining else [self._stop, self._renew]
        wakes = [asyncio.ensure_future(event.wait()) for event in asked]
        waited: list[asyncio.Future[Any]] = [exited, *wakes]
        await asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wake in wakes:
            wake.cancel()


def _tied_to_us(command: Sequence[str]) -> list[str]:
    """The command such that the kernel ends the server when the watchdog is killed and cannot.

    setpriv(1) `--pdeathsig`; it belongs to util-linux. Without it an orphan would keep the port.
    """
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return [setpriv, "--pdeathsig", "KILL", "--", *command] if setpriv else list(command)


def _to_own_streams(stream: int, data: bytes) -> None:
    target = (sys.stdout if stream == 1 else sys.stderr).buffer
    target.write(data)
    target.flush()
