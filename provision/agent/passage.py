"""Requests on their way from the programs of one state to those of another, while a transaction is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, AbstractSet, Callable, Dict, Iterator, List, Mapping, Sequence, Set

from ..contract import roles
from ..contract.layout import Layout
from ..contract.state import Program, State
from .leaving import Leaving, drained, leaving
from .traffic import NOBODY, crowd, entrances_of, front_by, front_of, let_go, standing

if TYPE_CHECKING:
    from ..contract.release import ReleaseDocument, ServiceDocument
    from .front.values import Front
    from .holds import Holds


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
            **entrances_of(before, documents),
            **{name: each for name, each in entrances_of(after, documents).items() if name not in there},
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
        return sorted({bind.port for bind in self._become(NOBODY).binds if bind.own})

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
            self.holds.begin(program, service, crowd(self.layout, service))
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
            self._become(NOBODY)

    def _become(self, away: AbstractSet[str]) -> Front:
        declared = self._before or self._after
        assert declared is not None  # noqa: S101  for mypy
        now = self.before._replace(programs=self._now, project=self.after.project)
        front = front_by(self.layout, now, self.documents, declared, self._entrances, away)
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
