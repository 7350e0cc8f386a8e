"""Proof that programs work: they live, they do not restart, the listening sockets are theirs, their checks pass."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Sequence, Set, Union

from ..contract.failure import UNPROVEN, Failure
from . import checks, kept_port, launch, listeners, processes
from .checks.here import Here
from .sockets import Bearer
from .supervisors import Activity, Observed, Supervisor
from .together import AT_ONCE, WATCHED, Together, side_by_side

if TYPE_CHECKING:
    from ..contract.checks import CheckDocument
    from ..contract.events import Emit, Facts
    from ..contract.release import Idle, ServiceDocument, TokensDocument

_POLL = 0.03
_ALIVE_SECONDS = 1.0  # a program without a port has to live that long: its checks may pass without it
_LISTEN_SECONDS = 60.0  # where no check gives a deadline
_LOG_LINES = 12
_START_LINES = 5000  # more than what a start of llama-server says
_NEWS_SECONDS = 3.0
_START_SECONDS = 3.0  # systemd queues a start: until then "inactive" is no news


class Ended(Failure):
    """A program ended while it was being proven."""


class Sight:
    """What those who prove a program each see, asked for all of them together."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.observe = Together(supervisor.twin().observe)
        self.members = Together(supervisor.twin().families)
        self.listening = Together(_listening)


def _listening(ports: Sequence[int]) -> Dict[int, Set[int]]:
    found = listeners.listening_inodes()
    return {port: found.get(port, set()) for port in ports}


class Watch:
    """The process of one program, seen from its start: it must stay the same."""

    def __init__(self, sight: Sight, supervisor: Supervisor, program: str, stop: Callable[[], None]) -> None:
        self.sight = sight
        self.supervisor = supervisor  # asked by the thread that watches, and by no other
        self.program = program
        self.stop = stop
        self.pid = 0
        self._began = 0
        self._since = time.monotonic()

    def __call__(self) -> None:
        """Raises a failure where the program ended or was restarted; whatever `stop` raises comes first."""
        self.stop()
        # While the very process lives, its supervisor knows nothing else that would count.
        if not (self.pid and processes.lives(self.pid, self._began)):
            self.ask()

    def ask(self) -> None:
        """The same by the supervisor's word."""
        seen = self.sight.observe(self.program)
        if self.pid and seen.pid == self.pid and not processes.alive(self.pid):
            seen = self._news_of_death()
        if seen.activity is Activity.STOPPED and not self.pid and time.monotonic() - self._since < _START_SECONDS:
            return
        if seen.activity is not Activity.RUNNING:
            self._fail(f"{self.program} {self.supervisor.how_it_ended(self.program, seen)}")
        if not seen.pid:
            return
        if not self.pid:
            self.pid, self._began = seen.pid, processes.start_time(seen.pid)
        elif (seen.pid, processes.start_time(seen.pid)) != (self.pid, self._began):
            self._fail(f"{self.program} restarted while it was being proven")

    def _news_of_death(self) -> Observed:
        """The supervisor notices an end a moment later than we do."""
        until = time.monotonic() + _NEWS_SECONDS
        while True:
            seen = self.sight.observe(self.program)
            if seen.pid != self.pid or time.monotonic() > until:
                return seen
            time.sleep(_POLL)

    def _fail(self, what: str) -> None:
        raise Ended(UNPROVEN, what, program=self.program, log=self.supervisor.log_tail(self.program, _LOG_LINES))


def prove(
    supervisor: Supervisor,
    services: Sequence[ServiceDocument],
    folder: str,
    emit: Emit,
    stop: Callable[[], None],
    *,
    worked: bool,
    answered: Callable[[str, float], None] = lambda *_: None,
) -> None:
    """Prove services that were just started, side by side.

    Args:
        folder: the release they run from, working directory of command checks.
        stop: raises where the transaction is to be aborted.
        worked: they were proven before as they are, so that one which ends has met something here.
        answered: told when each answered first, by `time.monotonic`.

    Raises:
        Failure: the first one that failed.
    """
    sight = Sight(supervisor)
    asking = threading.BoundedSemaphore(AT_ONCE)

    def prove_one(service: ServiceDocument) -> None:
        # Each thread has its own connection to the supervisor: XML-RPC transports are not thread-safe.
        own, until = supervisor.twin(), 0.0
        while True:
            watch = Watch(sight, own, service["program"], stop)
            try:
                return answered(service["program"], _prove_one(watch, service, folder, emit, asking))
            except Ended as ended:
                until = until or time.monotonic() + kept_port.SECONDS
                if not kept_port.is_why(ended, service, own, worked=worked) or time.monotonic() > until:
                    from . import diagnosis  # of what fails alone

                    raise diagnosis.of_end(ended, service, folder) from None
                kept_port.start_again(service, own, until, emit, stop)

    side_by_side(prove_one, services, WATCHED)


def _prove_one(
    watch: Watch, service: ServiceDocument, folder: str, emit: Emit, asking: threading.BoundedSemaphore
) -> float:
    """Prove it; when it answered first: its first check, or at least that it listens."""
    program, supervisor = service["program"], watch.supervisor

    def said() -> List[str]:
        return supervisor.log_tail(program, _START_LINES)

    def members() -> Set[int]:
        return watch.sight.members(program)

    # What is fast is measured once it works.
    asked = sorted(filter(checks.is_asked, service["checks"]), key=lambda check: check["kind"] == "bench")
    deadline = max([check["timeout"] for check in asked] or [_LISTEN_SECONDS])
    _wait_for_process(watch, deadline)
    for port in service["ports"]:
        _wait_for_listener(watch, port, deadline, service)
    first = time.monotonic()
    for index, check in enumerate(asked):
        with asking:
            reach = Here(folder, bearer(supervisor, program, check), log=said, members=members, watch=watch)
            outcome = checks.prove(check, reach, watch)
        emit(checks.event(outcome, program))
        if not outcome.passed:
            from . import diagnosis  # of what fails alone

            log = supervisor.log_tail(program, _LOG_LINES)
            step = diagnosis.of_check(outcome.attempts[-1][0] if outcome.attempts else "", service["name"])
            facts: Facts = {"attempts": outcome.attempts}
            raise Failure(UNPROVEN, outcome.sentence, "", step, program=program, log=log, facts=facts)
        first = first if index else outcome.since
    if not service["ports"]:
        while processes.age(watch.pid) < _ALIVE_SECONDS:
            watch()
            time.sleep(_POLL)
    for port in service["ports"]:
        _wait_for_listener(watch, port, 1.0, service)
    watch.ask()
    return first


def bearer(supervisor: Supervisor, program: str, asked: Union[CheckDocument, Idle, TokensDocument]) -> Optional[Bearer]:
    """The secret that a question is sent with: what the program was started with; None where it sends none.

    A bench sends it from several threads at once, and each asks over a connection of its own.
    """
    name, layout = str(asked.get("token") or ""), supervisor.layout
    value = launch.read_secrets(layout, program, launch.current(layout, program)).get(name, "") if name else ""
    return Bearer(value, program, lambda: supervisor.twin().members(program)) if value else None


def _wait_for_process(watch: Watch, seconds: float) -> None:
    until = time.monotonic() + seconds
    while True:
        watch()
        if watch.pid:
            return
        if time.monotonic() > until:
            raise Failure(UNPROVEN, f"{watch.program} has no process after {seconds:.0f} s", program=watch.program)
        time.sleep(_POLL)


def _wait_for_listener(watch: Watch, port: int, seconds: float, service: ServiceDocument) -> None:
    until = time.monotonic() + seconds
    while True:
        watch()
        inodes = watch.sight.listening(port)
        # It mostly listens itself; to find all that descend from it takes a look at every process of the host.
        if inodes & listeners.sockets_of([watch.pid]):
            return
        if inodes and inodes & listeners.sockets_of(watch.sight.members(watch.program)):
            return
        if time.monotonic() > until:
            holder = listeners.holder(port)
            what = f"port {port} is held by {holder}" if holder else f"nothing listens on port {port}"
            from . import diagnosis  # of what fails alone

            members = watch.sight.members(watch.program)
            what, step = diagnosis.of_listener(f"{what} after {seconds:.0f} s", port, members, service)
            log = watch.supervisor.log_tail(watch.program, _LOG_LINES)
            raise Failure(UNPROVEN, f"{watch.program}: {what}", "", step, program=watch.program, log=log)
        time.sleep(_POLL)
