"""Who gets which request: what stands before the programs, as a state has it and while a transaction is under way.

The configuration is written before a word of it is said, and follows from a state alone; so whoever ends a transaction
makes the front what its state says, and may do so again.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache
from typing import TYPE_CHECKING, AbstractSet, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from ..contract import roles
from ..contract.layout import Layout
from ..contract.slots import STABLE
from ..contract.state import Program, State
from . import files, launch
from .documents import service_of
from .front import runtime
from .front.program import find
from .front.values import DRAIN, READY, WHOLE, Backend, Bind, Front, Route, Server

if TYPE_CHECKING:
    from ..contract.release import ReleaseDocument, ServiceDocument, TrafficDocument

_POLL = 0.05
_NEWS_SECONDS = 5.0  # between two words on what is still waited for
_NOBODY: AbstractSet[str] = frozenset()


def front_of(
    layout: Layout,
    state: State,
    documents: Mapping[str, ReleaseDocument],
    away: AbstractSet[str] = _NOBODY,
) -> Optional[Front]:
    """What stands before the programs of a state; None where nothing does. Pure.

    Args:
        documents: release -> release.json, of the state's channels and programs.
        away: programs that take no requests for now. Where a service has no others, its requests are held.
    """
    declared = roles.front(documents, state.channels)
    if declared is None or roles.stands_before(state) is None:
        return None
    stable = documents[state.channels[STABLE]]
    binds, backends = [], []
    for name, fronted in sorted(declared["services"].items()):
        servers = {
            each["program"]: Server(each["program"], each["ports"][0], STABLE, DRAIN)
            for each in roles.slots_of(stable, name).values()
        }
        for program, record in state.programs.items():
            if record.service == name:
                port = service_of(documents, program, record)["ports"][0]
                takes = READY if record.is_to_run and program not in away else DRAIN
                servers[program] = Server(program, port, record.lane, takes)
        others = sorted({server.lane for server in servers.values()} - {STABLE})
        ready = any(server.lane == STABLE and server.state == READY for server in servers.values())
        backends.append(
            Backend(
                service=name,
                servers=tuple(servers[program] for program in sorted(servers)),
                shares=tuple((lane, state.weights.get(lane, 0) * WHOLE // 100) for lane in others),
                held=not ready,
                hold_seconds=declared["hold"],
                hold_requests=declared["hold_requests"],
            )
        )
        binds.append(Bind(fronted["port"], (Route(name),), declared["listen"]))
    return Front(layout.traffic, state.project, tuple(binds), tuple(backends))


def stage(layout: Layout) -> None:
    """Make what the supervisor starts: a script, because which HAProxy a host has is no release's business.

    Raises:
        Failure: it has none.
    """
    words = runtime.command(haproxy(), layout.traffic)
    files.make_folder(layout.traffic, 0o700)
    text = "#!/bin/sh\n# What stands before the programs. Written by deploy.\nexec {}\n"
    files.write(os.path.join(layout.traffic, "start"), text.format(" ".join(map(launch.quote, words))), 0o700)


@lru_cache(maxsize=None)
def haproxy() -> str:
    """HAProxy's path on this host.

    Raises:
        Failure: there is none that can be a front.
    """
    return find()


def become(front: Front) -> None:
    """Let what runs be `front`, and the configuration say so first."""
    _runtime(front.folder).become(front)


def _runtime(folder: str) -> runtime.Runtime:
    return runtime.Runtime(folder, haproxy())


class Leaving(NamedTuple):
    """A program that takes no new request, and ends when its last one has."""

    service: str
    program: str
    seconds: float  # it may take


def leaving(documents: Mapping[str, ReleaseDocument], programs: Mapping[str, Program]) -> List[Leaving]:
    """Those of `programs` to which requests come through what stands before them."""
    found = []
    for name, record in programs.items():
        declared: Optional[TrafficDocument] = documents[record.release].get("traffic")
        if declared and record.service in declared["services"]:
            found.append(Leaving(record.service, name, declared["services"][record.service]["drain"]))
    return found


def drained(
    layout: Layout,
    those: Sequence[Leaving],
    tell: Callable[[str, str, str], None],
    interrupt: Callable[[], None] = lambda: None,
) -> None:
    """Wait until they have answered what they had begun, at most as long as each may take.

    Args:
        tell: what is being waited for.
        interrupt: called now and then; may raise.
    """
    asked, began, news = _runtime(layout.traffic), time.monotonic(), 0.0
    left = list(those)
    while True:
        interrupt()
        waited = time.monotonic() - began
        left = [each for each in left if waited <= each.seconds and not asked.drained(each.service, each.program)]
        if not left:
            return
        if waited >= news:
            news = waited + _NEWS_SECONDS
            for each in left:
                streams = asked.counted()[each.service][each.program].sessions
                tell("drain", each.program, f"{streams} requests left, {each.seconds - waited:.0f} s at most")
        time.sleep(_POLL)


class Passage:
    """Requests on their way from the programs of one state to those of another.

    Args:
        journaled: called before anything moves.
    """

    def __init__(
        self,
        layout: Layout,
        before: State,
        after: State,
        documents: Mapping[str, ReleaseDocument],
        tell: Callable[[str, str, str], None],
        journaled: Callable[[], None],
        interrupt: Callable[[], None],
    ) -> None:
        self.layout = layout
        self.before = before
        self.after = after
        self.documents = documents
        self.tell = tell
        self.journaled = journaled
        self.interrupt = interrupt
        self._now: Dict[str, Program] = dict(before.programs)
        self._both = front_of(layout, before, documents) is not None and front_of(layout, after, documents) is not None
        gone = {name: record for name, record in before.programs.items() if name not in after.programs}
        self.behind = leaving(documents, gone) if self._both else []  # they end once the new state is committed

    def parts(self, level: Sequence[ServiceDocument]) -> Iterator[List[ServiceDocument]]:
        """A level of programs that start, as it may be disturbed: what is replaced in place, one after another."""
        alone = [each for each in level if self.is_in_place(each["program"])]
        together = [each for each in level if each not in alone]
        if together:
            yield together
        for each in alone:
            yield [each]

    def is_in_place(self, program: str) -> bool:
        """Whether requests come to a program, and another one is to be in its very place."""
        known = {name: record for name, record in self.before.programs.items() if name == program}
        return self._both and bool(leaving(self.documents, known))

    def leave(self, program: str) -> None:
        """Let it take no more requests, and end those that it has; they wait where nobody else takes them."""
        self.journaled()
        self._become({program})
        those = leaving(self.documents, {program: self.before.programs[program]})
        drained(self.layout, those, self.tell, self.interrupt)

    def enter(self, program: str) -> None:
        """It is proven anew."""
        self._now[program] = self.after.programs[program]
        self._become(_NOBODY)

    def _become(self, away: AbstractSet[str]) -> None:
        front = front_of(self.layout, self.before._replace(programs=self._now), self.documents, away)
        assert front is not None  # noqa: S101  there is one before and after
        become(front)

    def move(self) -> None:
        """Let all requests come to the programs of `after`; those of before take no new ones."""
        front = front_of(self.layout, self.after, self.documents)
        if front is not None:
            self.journaled()
            become(front)

    def end(self) -> None:
        """Wait for what those have begun that are not there any more."""
        drained(self.layout, self.behind, self.tell, self.interrupt)
