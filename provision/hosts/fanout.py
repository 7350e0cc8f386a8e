"""The same work on many hosts, a bounded number at a time."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from provision.errors import Interrupted
from provision.hosts.spec import HostSpec

Value = TypeVar("Value")

AT_ONCE = 16
_AWAKE_SECONDS = 0.2
_LET_GO_SECONDS = 1.0  # within which who can be asked to stop has stopped, and said how far it got


@dataclass(frozen=True)
class HostResult(Generic[Value]):
    """What the work on one host came to: a value, or the error that ended it."""

    spec: HostSpec
    value: Value | None = None
    error: BaseException | None = None

    @property
    def ok(self) -> bool:
        """Whether the work came to its end."""
        return self.error is None


def run_on_hosts(
    specs: Sequence[HostSpec],
    function: Callable[[HostSpec], Value],
    *,
    limit: int = AT_ONCE,
    on_interrupt: Callable[[], None] | None = None,
    holds: Callable[[HostSpec], bool] = lambda _: True,
) -> list[HostResult[Value]]:
    """`function` for each of `specs`, at most `limit` at a time; the results stand in the order of `specs`.

    An error of one host stays with that host. On the first Ctrl-C no further host is begun (those results hold
    `Interrupted`), `on_interrupt` may ask the running ones to stop, and those are waited for that `holds` names: of
    the others, which may hang, the result is `Interrupted` after a moment. The second one, or the first where there is
    nothing to ask them, raises KeyboardInterrupt at once and leaves all of them behind.
    """
    results: dict[int, HostResult[Value]] = {}
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(specs)):
        waiting.put(number)
    finished: queue.SimpleQueue[None] = queue.SimpleQueue()
    stopping = threading.Event()

    def work() -> None:
        while True:
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            spec = specs[number]
            if stopping.is_set():
                results[number] = HostResult(spec, error=Interrupted("not begun: interrupted", host=spec.name))
            else:
                results[number] = _result(spec, function)
            finished.put(None)

    try:
        # Daemons: after a second Ctrl-C the interpreter must not wait for a host that hangs.
        for _ in range(min(limit, len(specs))):
            threading.Thread(target=work, daemon=True).start()
        _wait(finished, lambda: len(results) == len(specs))
    except KeyboardInterrupt:
        stopping.set()
        if on_interrupt is None:
            raise
        work()  # gives those that nobody began their result, also where Ctrl-C came before the last thread did
        on_interrupt()
        until = time.monotonic() + _LET_GO_SECONDS

        def over() -> bool:
            left = [spec for number, spec in enumerate(specs) if number not in results]
            return not left or (time.monotonic() > until and not any(map(holds, left)))

        _wait(finished, over)
    return [results.get(number) or _let_go(spec) for number, spec in enumerate(specs)]


def _let_go(spec: HostSpec) -> HostResult[Value]:
    why = "What has arrived there is kept: the next run goes on from there."
    return HostResult(spec, error=Interrupted("interrupted; nothing was disturbed.", why=why, host=spec.name))


def _result(spec: HostSpec, function: Callable[[HostSpec], Value]) -> HostResult[Value]:
    try:
        return HostResult(spec, value=function(spec))
    except BaseException as error:
        return HostResult(spec, error=error)


def _wait(finished: queue.SimpleQueue[None], over: Callable[[], bool]) -> None:
    """Until it is over. Not by joining threads: an interrupted join takes them for ended."""
    while not over():
        # The kernel may hand Ctrl-C to another thread, which wakes nobody; Python acts on it here, and only if awake.
        with contextlib.suppress(queue.Empty):
            finished.get(timeout=_AWAKE_SECONDS)
