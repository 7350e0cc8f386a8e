"""Proof that programs work: they live, they do not restart, the listening sockets are theirs, their checks pass."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Callable, List, Optional, Sequence, Union

from ..contract.failure import UNPROVEN, Failure
from . import checks, launch, processes
from .checks.here import Here
from .sockets import Bearer
from .supervisors import Activity, Observed, Supervisor

if TYPE_CHECKING:
    from ..contract.checks import CheckDocument
    from ..contract.events import Emit
    from ..contract.release import Idle, ServiceDocument

_POLL = 0.03
_ALIVE_SECONDS = 1.0  # a program without a port has to live that long: its checks may pass without it
_LISTEN_SECONDS = 60.0  # where no check gives a deadline
_LOG_LINES = 12
_NEWS_SECONDS = 3.0
_START_SECONDS = 3.0  # systemd queues a start: until then "inactive" is no news


class Watch:
    """The process of one program, seen from its start: it must stay the same."""

    def __init__(self, supervisor: Supervisor, program: str, stop: Callable[[], None]) -> None:
        self.supervisor = supervisor
        self.program = program
        self.stop = stop
        self.pid = 0
        self._began = 0
        self.since = time.monotonic()  # when we began to look; once there is a process, when that was first seen

    def __call__(self) -> None:
        """Raises a failure where the program ended or was restarted; whatever `stop` raises comes first."""
        self.stop()
        seen = self.supervisor.observe([self.program])[self.program]
        if self.pid and seen.pid == self.pid and not processes.alive(self.pid):
            seen = self._news_of_death()
        if seen.activity is Activity.STOPPED and not self.pid and time.monotonic() - self.since < _START_SECONDS:
            return
        if seen.activity is not Activity.RUNNING:
            self._fail(f"{self.program} {self.supervisor.how_it_ended(self.program, seen)}")
        if not seen.pid:
            return
        if not self.pid:
            self.pid, self._began, self.since = seen.pid, processes.start_time(seen.pid), time.monotonic()
        elif (seen.pid, processes.start_time(seen.pid)) != (self.pid, self._began):
            self._fail(f"{self.program} restarted while it was being proven")

    def _news_of_death(self) -> Observed:
        """The supervisor notices an end a moment later than we do."""
        until = time.monotonic() + _NEWS_SECONDS
        while True:
            seen = self.supervisor.observe([self.program])[self.program]
            if seen.pid != self.pid or time.monotonic() > until:
                return seen
            time.sleep(_POLL)

    def _fail(self, what: str) -> None:
        raise Failure(UNPROVEN, what, program=self.program, log=self.supervisor.log_tail(self.program, _LOG_LINES))


def prove(
    supervisor: Supervisor, services: Sequence[ServiceDocument], folder: str, emit: Emit, stop: Callable[[], None]
) -> None:
    """Prove services that were just started, all at the same time.

    Args:
        folder: the release they run from, working directory of command checks.
        stop: raises where the transaction is to be aborted.

    Raises:
        Failure: the first one that failed.
    """
    if not services:
        return
    with ThreadPoolExecutor(max_workers=min(8, len(services))) as pool:
        futures = [pool.submit(_prove_one, supervisor, service, folder, emit, stop) for service in services]
        failures: List[BaseException] = [error for error in (future.exception() for future in futures) if error]
    if failures:
        raise failures[0]


def _prove_one(
    supervisor: Supervisor, service: ServiceDocument, folder: str, emit: Emit, stop: Callable[[], None]
) -> None:
    program = service["program"]
    # Each thread has its own connection to the supervisor: XML-RPC transports are not thread-safe.
    watch = Watch(supervisor.twin(), program, stop)
    deadline = max([check["timeout"] for check in service["checks"]] or [_LISTEN_SECONDS])
    _wait_for_process(watch, deadline)
    for port in service["ports"]:
        _wait_for_listener(watch, port, deadline)
    for check in service["checks"]:
        outcome = checks.prove(check, Here(folder, bearer(watch.supervisor, program, check)), watch)
        emit(checks.event(outcome, program))
        if not outcome.passed:
            log = supervisor.log_tail(program, _LOG_LINES)
            raise Failure(UNPROVEN, outcome.sentence, program=program, log=log, facts={"attempts": outcome.attempts})
    if not service["ports"]:
        while time.monotonic() < watch.since + _ALIVE_SECONDS:
            watch()
            time.sleep(_POLL)
    for port in service["ports"]:
        _wait_for_listener(watch, port, 1.0)
    watch()


def bearer(supervisor: Supervisor, program: str, asked: Union[CheckDocument, Idle]) -> Optional[Bearer]:
    """The secret that a check or a drain sends: what the program was started with; None where it sends none.

    Args:
        supervisor: asked by the thread that sends, and by no other.
    """
    name, layout = str(asked.get("token") or ""), supervisor.layout
    value = launch.read_secrets(layout, program, launch.current(layout, program)).get(name, "") if name else ""
    return Bearer(value, program, lambda: supervisor.members(program)) if value else None


def _wait_for_process(watch: Watch, seconds: float) -> None:
    until = time.monotonic() + seconds
    while True:
        watch()
        if watch.pid:
            return
        if time.monotonic() > until:
            raise Failure(UNPROVEN, f"{watch.program} has no process after {seconds:.0f} s", program=watch.program)
        time.sleep(_POLL)


def _wait_for_listener(watch: Watch, port: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    while True:
        watch()
        if processes.listens(watch.supervisor.members(watch.program), port):
            return
        if time.monotonic() > until:
            holder = processes.holder(port)
            what = f"port {port} is held by {holder}" if holder else f"nothing listens on port {port}"
            log = watch.supervisor.log_tail(watch.program, _LOG_LINES)
            raise Failure(UNPROVEN, f"{watch.program}: {what} after {seconds:.0f} s", program=watch.program, log=log)
        time.sleep(_POLL)
