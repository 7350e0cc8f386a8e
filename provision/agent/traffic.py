"""Who gets which request: what stands before the programs, as a state has it and while a transaction is under way.

The configuration is written before a word of it is said, and follows from a state alone; so whoever ends a transaction
makes the front what its state says, and may do so again.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache
from typing import (
    TYPE_CHECKING,
    AbstractSet,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
)

from ..contract import held, roles
from ..contract.failure import REFUSED, Failure
from ..contract.layout import START, Layout
from ..contract.slots import STABLE
from ..contract.state import Program, State
from . import files, launch, peers, public
from .documents import service_of
from .front.account import account
from .front.values import DRAIN, READY, WHOLE, Backend, Bind, Crowd, Far, Front, Route, Server

if TYPE_CHECKING:
    from ..contract.release import FrontedDocument, ReleaseDocument, ServiceDocument, TrafficDocument
    from .front.runtime import Runtime
    from .holds import Holds

_POLL = 0.05
_NEWS_SECONDS = 5.0  # between two words on what is still waited for
_HERE = "127.0.0.1"
_NOBODY: AbstractSet[str] = frozenset()


class Entrance(NamedTuple):
    """A service that requests come to, and the release that says so."""

    declared: FrontedDocument
    document: ReleaseDocument


def front_of(
    layout: Layout,
    state: State,
    documents: Mapping[str, ReleaseDocument],
    away: AbstractSet[str] = _NOBODY,
) -> Optional[Front]:
    """What stands before the programs of a state; None where nothing does.

    Args:
        documents: release -> release.json, of the state's channels and programs.
        away: programs that take no requests for now. Where a service has no others, its requests are held.
    """
    declared = standing(state, documents)
    return _front(layout, state, documents, declared, _entrances(state, documents), away) if declared else None


def standing(state: State, documents: Mapping[str, ReleaseDocument]) -> Optional[TrafficDocument]:
    """What stands before the programs of a state, by its release; None where nothing does."""
    return roles.front(documents, state.channels) if roles.stands_before(state) else None


def _entrances(state: State, documents: Mapping[str, ReleaseDocument]) -> Dict[str, Entrance]:
    declared = standing(state, documents)
    stable = documents.get(state.channels.get(STABLE, ""))
    return {name: Entrance(each, stable) for name, each in declared["services"].items()} if declared and stable else {}


def _front(
    layout: Layout,
    state: State,
    documents: Mapping[str, ReleaseDocument],
    declared: TrafficDocument,
    entrances: Mapping[str, Entrance],
    away: AbstractSet[str],
) -> Front:
    binds, backends = [], []
    admitted = peers.admitted(layout, declared) if "admits" in declared else None
    for name, entrance in sorted(entrances.items()):
        servers = {
            each["program"]: Server(each["program"], each["ports"][0], STABLE, DRAIN)
            for each in roles.slots_of(entrance.document, name).values()
        }
        for called, record in state.programs.items():
            if record.service == name:
                takes = READY if record.is_to_run and called not in away else DRAIN
                # Another lane's release may declare the service without a port.
                for port in service_of(documents, called, record)["ports"][:1]:
                    servers[called] = Server(called, port, record.lane, takes)
        if "behind" in entrance.declared:
            servers = {each.program: each for each in peers.servers(layout, state, declared, name)}
        others = sorted({server.lane for server in servers.values()} - {STABLE})
        ready = any(server.lane == STABLE and server.state == READY for server in servers.values())
        backends.append(
            Backend(
                service=name,
                servers=tuple(servers[called] for called in sorted(servers)),
                shares=tuple((lane, round(_share(lane, state, documents) * WHOLE)) for lane in others),
                mode=entrance.declared["mode"],
                held=not ready,
                hold_seconds=declared["hold"],
                hold_requests=declared["hold_requests"],
                limits=public.limits(entrance.declared),
                far=_far(declared, entrance.declared),
            )
        )
        if admitted:  # first, so that what is handed on after a reload is taken as from there
            binds.append(Bind(entrance.declared["port"], (Route(name),), declared["listen"], peer=admitted))
        at = [_HERE] if admitted else _addresses(declared["listen"])
        binds += [Bind(entrance.declared["port"], (Route(name),), each, inside=True) for each in at]
    binds += public.binds({name: each.declared for name, each in entrances.items()}, challenged="acme" in declared)
    log = roles.keeper(state) is not None
    metrics = declared.get("metrics", 0)
    whom = account()
    user, group = (whom.user, whom.group) if whom else ("", "")
    return Front(layout.traffic, state.project, tuple(binds), tuple(backends), user, group, log, metrics=metrics)


def _far(declared: TrafficDocument, service: FrontedDocument) -> Optional[Far]:
    """How machines are reached that answer for a service; None where programs of this host do."""
    return Far(declared["behind"][service["behind"]]["repeat"]) if "behind" in service else None


def _addresses(declared: str) -> List[str]:
    """Where it listens: others of the project find a service at 127.0.0.1, wherever else it is served."""
    return [declared] if declared in ("0.0.0.0", "::", _HERE) else [declared, _HERE]  # noqa: S104  as declared


def described(state: State, documents: Mapping[str, ReleaseDocument], program: str) -> ServiceDocument:
    """How a program of a state is described; what stands before the others has the ports of the release that serves,
    whichever it was started from.

    Raises:
        Failure: its release is not on the host any more.
    """
    service = service_of(documents, program, state.programs[program])
    declared = standing(state, documents)
    if declared is None or program != roles.stands_before(state):
        return service
    return {**service, "ports": sorted({each["port"] for each in declared["services"].values()})}


def _share(lane: str, state: State, documents: Mapping[str, ReleaseDocument]) -> float:
    """How many of all clients come to a lane beside stable: as was said since, else as its own release says."""
    if lane not in state.channels:
        return 0.0
    declared = documents[state.channels[lane]].get("traffic")
    return state.shares.get(lane, declared["canary"] / 100 if declared else 0.0)


def stage(layout: Layout) -> None:
    """Make what the supervisor starts: a script, because which HAProxy a host has is no release's business.

    Raises:
        Failure: it has none.
    """
    from .front.runtime import command  # of hosts with traffic alone, as all that speaks with HAProxy

    words = command(haproxy(layout), layout.traffic)
    files.make_folder(layout.traffic, 0o700)
    text = "#!/bin/sh\n# What stands before the programs. Written by deploy.\nexec {}\n"
    files.write(os.path.join(layout.traffic, START), text.format(" ".join(map(launch.quote, words))), 0o700)


@lru_cache(maxsize=None)
def haproxy(layout: Layout) -> str:
    """The program.

    Raises:
        Failure: the host has none.
    """
    from .front import program

    try:
        return program.find(layout.haproxies)
    except Failure as failed:
        raise Failure(
            REFUSED,
            f"the target declares traffic, and that takes HAProxy. {failed.what}",
            failed.why,
            'deploy up, which brings one; or traffic = "none" in the target',
        ) from None


def become(layout: Layout, front: Front) -> Front:
    """Let what runs be `front`, and the configuration say so first; it, where it listens now."""
    from .host_front import moving

    return moving.become(layout, front, runtime(layout))


def runtime(layout: Layout) -> Runtime:
    """Who speaks with what runs."""
    from .front.runtime import Runtime

    return Runtime(layout.traffic, haproxy(layout))


def let_go(layout: Layout, front: Front, holds: Holds, tell: Callable[[str, str, str], None]) -> Front:
    """Become `front`, and return it as it is now; say what requests waited for that it holds no longer."""
    still = {each.service for each in front.backends if each.held}
    over = {name: service for name, service in holds.open.items() if service not in still}
    waiting = {service: _crowd(layout, service).waiting for service in over.values()}
    placed = become(layout, front)
    for name, service in over.items():
        tell("held", name, held.sentence(holds.end(name, waiting[service], _crowd(layout, service))))
    return placed


def _crowd(layout: Layout, service: str) -> Crowd:
    from .front.master import Silent

    try:
        return runtime(layout).crowd(service)
    except Silent:  # who waited has gone with it
        return Crowd()


class Leaving(NamedTuple):
    """A program that takes no new request, and ends when its last one has."""

    service: str
    program: str
    seconds: float  # it may take


def leaving(documents: Mapping[str, ReleaseDocument], programs: Mapping[str, Program]) -> List[Leaving]:
    """Those of `programs` to which requests come through what stands before them."""
    found = []
    for name, record in programs.items():
        document = documents.get(record.release)
        declared = document.get("traffic") if document else None
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
    if not those:
        return
    from .front.master import Silent

    asked, began, news = runtime(layout), time.monotonic(), 0.0
    left = list(those)
    while left:
        interrupt()
        waited = time.monotonic() - began
        try:
            counted = asked.counted()
        except Silent:
            return  # what it had begun has ended with it
        sessions = [(each, counted.get(each.service, {}).get(each.program)) for each in left if waited <= each.seconds]
        left = [each for each, counts in sessions if counts is not None and counts.sessions]
        if left and waited >= news:
            news = waited + _NEWS_SECONDS
            for each, counts in sessions:
                if counts is not None and counts.sessions:
                    most = each.seconds - waited
                    tell("drain", each.program, f"{counts.sessions} of its requests left, for {most:.0f} s at most")
        time.sleep(_POLL if left else 0)


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
        holds: Holds,
    ) -> None:
        self.layout = layout
        self.before = before
        self.after = after
        self.documents = documents
        self.tell = tell
        self.journaled = journaled
        self.interrupt = interrupt
        self.holds = holds
        self._now: Dict[str, Program] = dict(before.programs)
        self._before, self._after = standing(before, documents), standing(after, documents)
        both = self._before is not None and self._after is not None
        gone = {name: record for name, record in before.programs.items() if name not in after.programs}
        self.behind = leaving(documents, gone) if both else []  # they end once the new state is committed
        # Until all is proven, what was there stays as it was. What is new is there for those that come after it.
        there = {record.service for record in before.programs.values()}
        self._entrances = {
            **_entrances(before, documents),
            **{name: each for name, each in _entrances(after, documents).items() if name not in there},
        }
        self._open = self._before is not None

    def demand(self) -> None:
        """Refuse what HAProxy could not begin with, before anything is disturbed.

        Raises:
            Failure: a certificate is not there, and can't be made.
        """
        front = front_of(self.layout, self.after, self.documents)
        if front is not None:
            from .front.configuration import demand_certificates

            if self._after and "acme" in self._after:
                from . import acme

                acme.prepare(self.layout, self._after["acme"])

            demand_certificates(front)

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
        return self._after is not None and bool(self._served([program]))

    def _served(self, programs: Sequence[str]) -> List[Leaving]:
        """Those of before to which requests come."""
        known = {name: self.before.programs[name] for name in programs if name in self.before.programs}
        return leaving(self.documents, known) if self._before is not None else []

    def open(self) -> List[int]:
        """What is to be served before all is proven, where nothing stands there yet: ports that nobody has."""
        if self._before is not None or self._after is None or not self._entrances:
            return []
        self._open = True
        return sorted({bind.port for bind in self._become(_NOBODY).binds if bind.own})

    def is_front(self, program: str) -> bool:
        """Whether it is what is to stand before the others; a service of that name may be just a service."""
        return self._after is not None and program == roles.stands_before(self.after)

    def ports(self) -> Set[int]:
        """Those at which requests are to come in."""
        return {each["port"] for each in self._after["services"].values()} if self._after else set()

    @property
    def stands(self) -> bool:
        """Whether anything is to stand before the programs."""
        return self._after is not None

    @property
    def is_opened(self) -> bool:
        """Whether it was opened here."""
        return self._open and self._before is None

    def leave(self, program: str) -> None:
        """Let it take no more requests, and end those that it has; they wait where nobody else takes them."""
        self.journaled()
        front = self._become({program})
        service = self.before.programs[program].service
        mine = next((each for each in front.backends if each.service == service and each.held), None)
        if mine is not None:
            limits = f"at most {mine.hold_seconds:.0f} s, and {mine.hold_requests} at a time"
            self.tell("hold", program, limits)
            self.holds.begin(program, service, _crowd(self.layout, service))
        drained(self.layout, self._served([program]), self.tell, self.interrupt)

    def enter(self, programs: Sequence[str]) -> None:
        """They are proven: requests come to those that nobody else had the place of."""
        there = {record.service for record in self.before.programs.values()}
        mine = [
            name
            for name in programs
            if self.is_in_place(name) or self.after.programs[name].service in self._entrances.keys() - there
        ]
        if mine and self._open:
            self._now.update((name, self.after.programs[name]) for name in mine)
            self._become(_NOBODY)

    def _become(self, away: AbstractSet[str]) -> Front:
        declared = self._before or self._after
        assert declared is not None  # noqa: S101  for mypy
        now = self.before._replace(programs=self._now, project=self.after.project)
        front = _front(self.layout, now, self.documents, declared, self._entrances, away)
        return let_go(self.layout, front, self.holds, self.tell)

    def rest(self, programs: Sequence[str]) -> None:
        """Wait for what those have begun that are to stop, and take nothing new by now."""
        drained(self.layout, self._served(programs), self.tell, self.interrupt)

    def move(self) -> None:
        """Let all requests come to the programs of `after`; those of before take no new ones."""
        front = front_of(self.layout, self.after, self.documents)
        if front is not None:
            self.journaled()
            let_go(self.layout, front, self.holds, self.tell)

    def end(self) -> None:
        """Wait for what those have begun that are not there any more."""
        drained(self.layout, self.behind, self.tell, self.interrupt)
