"""Running one program to its end for a caller who waits: tried again where that may help, counted and told.

The program lives in a process group of its own (`bitnet.child`) and ends with its caller: on Ctrl-C, on SIGTERM, at
its deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from bitnet.breaker import BreakerPolicy, CircuitBreaker, State
from bitnet.capture import BoundedCapture
from bitnet.child import Child, Ending
from bitnet.errors import InvalidInput, LaunchFailed, RuntimeFailure, RuntimeTimeoutError
from bitnet.metrics import Metrics
from bitnet.process import Finished
from bitnet.telemetry import Telemetry

OnOutput = Callable[[int, bytes], None]
"""Called with 1 or 2 (stdout, stderr) and each piece of output as it arrives."""

_LAST_LINES = 5  # of stderr, in an error
# Keys, and what people ask a model: neither belongs into a log.
_SECRET_OPTIONS = frozenset({"--api-key", "--hf-token", "-hft", "--prompt"})


@dataclass(frozen=True)
class Retries:
    """How often a launch that failed is tried again, and how long is waited before.

    The wait is drawn between 0 and a bound that doubles each time ("full jitter"), so that many hosts that failed
    together do not come back together.

    Args:
        attempts: launches in all; 1 is no retry.
        first: seconds, the first bound.
        longest: seconds, the largest bound.

    Raises:
        InvalidInput: fewer than one attempt, or a negative time.
    """

    attempts: int = 1
    first: float = 0.5
    longest: float = 30.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first < 0 or self.longest < 0:
            raise InvalidInput(f"{self}: attempts must be at least 1, and no time negative")


class Launcher:
    """Launches programs for one runtime; each program has its circuit breaker."""

    def __init__(self, retries: Retries, breaker: BreakerPolicy, telemetry: Telemetry, metrics: Metrics) -> None:
        self._retries = retries
        self._policy = breaker
        self._breakers: dict[str, CircuitBreaker] = {}
        self._telemetry = telemetry
        self._metrics = metrics

    def launch(
        self,
        program: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        timeout: float | None = None,
        on_output: OnOutput | None = None,
        attached: bool = False,
    ) -> Finished:
        """Run `command` until it ends with status 0; `attached` gives it this terminal, and keeps no output.

        Raises:
            CircuitOpen: the program failed too often lately.
            LaunchFailed: it ended with another status, or could not be started, in every attempt.
            RuntimeTimeoutError: it was still running at its deadline. That is not tried again.
            InvalidInput: called inside a running event loop, which it would block.
        """
        _refuse_inside_event_loop()
        breaker = self._breakers.setdefault(program, CircuitBreaker(program, self._policy))
        attempts = Retrying(
            stop=stop_after_attempt(self._retries.attempts),
            wait=wait_random_exponential(multiplier=self._retries.first, max=self._retries.longest),
            retry=retry_if_exception(lambda error: isinstance(error, LaunchFailed)),
            before_sleep=lambda state: self._tell_retry(program, state),
            reraise=True,
        )

        def run() -> Finished:
            if attached:
                return _run_attached(list(command), environment)
            return asyncio.run(_run(list(command), environment, timeout, on_output))

        return attempts(self._attempt, program, breaker, command, run)

    def breaker_states(self) -> dict[str, State]:
        """The state of each program's breaker."""
        return {name: breaker.state for name, breaker in self._breakers.items()}

    def _attempt(
        self, program: str, breaker: CircuitBreaker, command: Sequence[str], run: Callable[[], Finished]
    ) -> Finished:
        breaker.admit(time.monotonic())
        self._telemetry("launch.started", program=program, command=shown(command))
        started = time.monotonic()
        try:
            finished = run()
            if finished.returncode != 0 and not finished.ended:
                raise _failure(finished)
        except RuntimeFailure as error:
            if breaker.fail(time.monotonic()):
                self._telemetry("breaker.opened", program=program, seconds=self._policy.cool_down)
            outcome = "timeout" if isinstance(error, RuntimeTimeoutError) else "failed"
            self._done(program, outcome, time.monotonic() - started, getattr(error, "returncode", None))
            raise
        except BaseException:
            breaker.forget()  # Ctrl-C says nothing about the program
            self._done(program, "interrupted", time.monotonic() - started, None)
            raise
        breaker.succeed()
        self._done(program, "ok", finished.duration, finished.returncode)
        return finished

    def _done(self, program: str, outcome: str, seconds: float, returncode: int | None) -> None:
        self._metrics.launched(program, outcome, seconds)
        self._telemetry(
            "launch.finished", program=program, outcome=outcome, seconds=round(seconds, 6), returncode=returncode
        )

    def _tell_retry(self, program: str, state: RetryCallState) -> None:
        self._metrics.retried(program)
        wait = state.next_action.sleep if state.next_action else 0.0
        self._telemetry("launch.retried", program=program, attempt=state.attempt_number, wait=round(wait, 3))


def shown(command: Sequence[str]) -> list[str]:
    """`command` as it may be logged: values of options that hold a secret or a prompt are masked."""
    return [
        "***" if before in _SECRET_OPTIONS else word for before, word in zip(["", *command[:-1]], command, strict=True)
    ]


async def _run(
    command: list[str], environment: Mapping[str, str], timeout: float | None, on_output: OnOutput | None
) -> Finished:
    streams = {1: BoundedCapture(), 2: BoundedCapture()}

    def arrived(stream: int, data: bytes) -> None:
        streams[stream].feed(data)
        if on_output:
            on_output(stream, data)

    started_at, began = time.time(), time.monotonic()
    _on_sigterm(lambda: child.end())  # before there is a child: a SIGTERM in between would leave it an orphan
    child = Child(command, arrived, env=environment, timeout=timeout)
    try:
        returncode = await child.wait()
    except asyncio.CancelledError:
        await child.gone()
        raise
    stdout, stderr = streams[1].text(), streams[2].text()
    if child.ending is Ending.DEADLINE and timeout is not None:
        raise RuntimeTimeoutError(timeout=timeout, command=command, stdout=stdout, stderr=stderr)
    duration = time.monotonic() - began
    return Finished(
        command=tuple(command),
        returncode=returncode,
        stdout=stdout,
        stderr=stderr,
        stdout_cut=streams[1].cut,
        stderr_cut=streams[2].cut,
        started_at=started_at,
        completed_at=started_at + duration,
        duration=duration,
        ended=child.ending is Ending.ASKED,
    )


def _run_attached(command: list[str], environment: Mapping[str, str]) -> Finished:
    """On this terminal, in this process group: Ctrl-C is the program's to understand, not ours."""
    started_at, began = time.time(), time.monotonic()
    # Caught and not ignored: what is ignored would be ignored by the program too.
    previous = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        process = subprocess.Popen(command, env=dict(environment))
        returncode = process.wait()
    except OSError as error:
        raise LaunchFailed(
            f"{command[0]} could not be started",
            why=str(error.strerror),
            next_step="see --diagnostics",
            command=command,
        ) from error
    finally:
        signal.signal(signal.SIGINT, previous)
    duration = time.monotonic() - began
    return Finished(tuple(command), returncode, "", "", 0, 0, started_at, started_at + duration, duration)


def _on_sigterm(end: Callable[[], None]) -> None:
    """SIGTERM to this process ends the program too. Only a main thread can say so; others leave signals alone."""
    with contextlib.suppress(ValueError, RuntimeError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)


def _failure(finished: Finished) -> LaunchFailed:
    status = finished.returncode
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    last = [line for line in finished.stderr.splitlines() if line.strip()][-_LAST_LINES:]
    return LaunchFailed(
        f"{finished.command[0]} {how}",
        why="\n".join(["its last lines:", *last]) if last else "it said nothing on stderr",
        next_step="run the command of --dry-run by hand, or see --diagnostics",
        command=finished.command,
        returncode=status,
        stdout=finished.stdout,
        stderr=finished.stderr,
    )


def _refuse_inside_event_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise InvalidInput(
        "this call would block the running event loop",
        why="BitNetRuntime waits for the program to end",
        next_step="use RuntimeSupervisor, or await asyncio.to_thread(...)",
    )
