"""One activation on one host: commits, or puts everything back.

`before` and `after` are whole states. Going forward disturbs programs one level at a time, each only after a journal
line that says so; putting back makes the host what `before` says, whatever the journal's last line is, and may be
repeated. So killing this at any instruction leaves a host that `recover` can bring to one of the two.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Callable, Optional, Sequence, Set

from ..contract import failure
from ..contract.decide import candidates
from ..contract.failure import FAILED, INTERRUPTED, UNPROVEN, Failure
from ..contract.host_view import HostView
from ..contract.layout import Layout
from ..contract.outcome import COMMITTED
from ..contract.steps import Do
from . import checks, files, importable, journal, measured, preflight, sharing, traffic, unwritable
from .beginning import Found, begin, stage
from .change import Change
from .checks.here import Here
from .closing import commit, give_up, stay_supervised
from .documents import service_of
from .once import Once
from .passage import Passage
from .programs import Programs, levels
from .prove import prove
from .supervisors import Supervisor

if TYPE_CHECKING:
    from ..contract.answers import Transacted
    from ..contract.events import Emit
    from ..contract.release import ServiceDocument


class Transaction:
    """Carries out a `Change`.

    Args:
        view: what was seen on the host, which the change was decided by.
        aborted: whether it is to be put back.

    Raises:
        Failure: a release that is to run does not describe its programs.
    """

    def __init__(
        self,
        layout: Layout,
        supervisor: Supervisor,
        change: Change,
        view: HostView,
        emit: Emit,
        aborted: Callable[[], bool],
    ) -> None:
        self.layout = layout
        self.supervisor = supervisor
        self.change = change
        self.view = view
        self.emit = emit
        self.aborted = aborted
        after, documents = change.after, change.documents
        self.services = {name: traffic.described(after, documents, name) for name in after.programs}
        self.beside = candidates(change.steps, documents, after.channels.get("stable", ""))
        self.programs = Programs(layout, supervisor, emit)
        self.programs.waits.know(self.services.values())
        self.programs.waits.know(change.known_before())
        self.bench = measured.Bench(layout, change.before, after, documents, emit)
        self.journal = journal.Journal(layout.journal)
        self.passage = Passage(
            layout,
            change.before,
            after,
            documents,
            self.programs.step,
            lambda: self.journal.add({"step": journal.TRAFFIC}),
            self._stop_if_aborted,
            self.programs.waits.holds,
        )
        self._commands = Once(layout, emit, self._stop_if_aborted)
        self._found = Found({}, [])

    def run(self) -> Transacted:
        """Bring the host from `before` to `after`.

        Raises:
            Failure: refused before anything was disturbed, put back, or degraded; `kind` says which.
        """
        began = time.monotonic()
        change = self.change
        self.programs.step("preflight")
        documents = {release: change.documents[release] for release in set(change.after.channels.values())}
        preflight.check(self.layout, self.supervisor, change.steps, self.services, self.beside, documents, self.view)
        self.passage.demand()
        sharing.demand(self.layout, change.after, change.documents)
        self._begin()
        try:
            self._try_beside()
            self._once()
            self._take()
            self._switch()
            self._move()
            self._remove()
            self._rest()
            self._prove_kept()
            self._project_checks()
            self.passage.end()
            self._stop_if_aborted()
            self.journal.add({"step": journal.COMMIT})
        except (Failure, OSError) as error:
            give_up(self.programs, change, failure.of(error), began)
        commit(self.programs, change, self.passage, self.bench)
        stay_supervised(self.programs, change, self._found.ran)
        unwritable.warn(self.supervisor, change.steps, change.before, change.after, self.emit)
        return {
            "event": "result",
            "outcome": COMMITTED,
            "generation": change.after.generation,
            "sequence": change.after.sequence,
            "channels": dict(change.after.channels),
            "seconds": round(time.monotonic() - began, 3),
            "waited": self.programs.waits.told(),
            "held": self.programs.waits.holds.told(),
            "did": {step.program: step.do.value for step in change.steps},
        }

    def _begin(self) -> None:
        """Up to the journal's first line, which says what runs."""
        try:
            stage(self.layout, self.supervisor, self.change, self.services, self.beside, self.passage, self.view)
            if self.change.once:
                self._commands.stage(self.change.once_secrets)
            files.sync_filesystem(self.layout.run)
            if self.aborted():
                raise Failure(INTERRUPTED, "interrupted before anything was disturbed.")
            self._found = begin(
                self.layout, self.supervisor, self.change, self.beside, self.passage, self.view, self.emit
            )
        except OSError as error:
            raise Failure(FAILED, f"the host can't prepare it: {error}.", why="Nothing was disturbed.") from None

    def _take(self) -> None:
        """Stop what somebody else's configuration starts, and this target takes over."""
        if self._found.taken:
            self.journal.add({"step": journal.TAKE})
            for each in self._found.taken:
                self.programs.step("stop", each["name"], f"of {each['path']}, taken over")
            self.supervisor.take(self._found.taken)

    def _try_beside(self) -> None:
        """Prove the new beside the old, on ports of its own; the old ones are not touched."""
        if not self.beside:
            return
        release = self.change.after.channels["stable"]
        names = [candidate["program"] for candidate in self.beside]
        for candidate in self.beside:
            self.programs.describe(candidate, self.change.transaction)
        self.supervisor.load(names, [])
        for level in levels(self.beside):
            self.programs.start([candidate["program"] for candidate in level], "beside the old one")
            folder = self.layout.release(release)
            try:
                asked = [self.bench.beside(each) for each in level]
                prove(self.supervisor, asked, folder, self.bench.emit, self._stop_if_aborted, worked=False)
            except Failure:
                for candidate in level:
                    importable.check(self.layout, release, candidate)  # says it better, if a module is missing
                raise
        self._stop_if_aborted()
        for candidate in reversed(self.beside):
            self.programs.step("stop", candidate["program"], "proven")
        self.supervisor.stop({candidate["program"]: candidate["stop_timeout"] for candidate in self.beside})
        self.programs.drop({name: item["manifest"]["name"] for name, item in zip(names, self.beside)})

    def _once(self) -> None:
        """Once what can be proven beside is, and before anything that users reach changes."""
        if self.change.once:
            declared = self.change.documents[self.change.once_release].get("once", {})
            self._commands.run(self.change.once_release, declared, self.change.once, self.change.once_runner)
            self._stop_if_aborted()

    def _switch(self) -> None:
        changed = [step for step in self.change.steps if step.changes and not self.passage.is_front(step.program)]
        self._vacate(
            {port for step in changed for port in self.services[step.program]["ports"]},
            {uuid for step in changed for uuid in step.devices},
        )
        front = self._front()
        if front and (ports := self.passage.open()):
            self._bring([{**front, "ports": ports}])
        for level in levels([self.services[step.program] for step in changed]):
            for part in self.passage.parts(level):
                self._stop_if_aborted()
                names = [each["program"] for each in part]
                for name in filter(self.passage.is_in_place, names):
                    self.passage.leave(name)
                self._bring(part)
                self.passage.enter(names)

    def _front(self) -> Optional[ServiceDocument]:
        """What stands before the others, where it is to be started."""
        changed = (step.program for step in self.change.steps if step.changes)
        return next((self.services[name] for name in changed if self.passage.is_front(name)), None)

    def _move(self) -> None:
        """Everything new is proven: requests come to it."""
        self._stop_if_aborted()
        front = self._front()
        self._vacate(self.passage.ports(), set())
        self.passage.move()
        if front and self.passage.is_opened:
            self.programs.prove([front], self.change.after, self._stop_if_aborted)
        elif front:
            self._bring([front])
        if self.passage.stands:
            sharing.settle(self.layout, self.change.after, self.change.documents)

    def _bring(self, level: Sequence[ServiceDocument]) -> None:
        """Stop what a level's programs were, start what they are to be, and prove it."""
        do = {step.program: step.do for step in self.change.steps}
        names = [service["program"] for service in level]
        self.journal.add({"step": journal.TOUCH, "programs": names})
        on_demand = [name for name in names if do[name] is Do.INSTALL]
        running = self.programs.running(on_demand)
        # While a program finishes on its old code, its supervisor keeps the old description.
        finishing = {each["program"] for each in level if each["program"] in running and each["on_switch"] == "finish"}
        replaced = [service for service in level if service["program"] not in finishing]
        self.programs.stop([self.change.as_it_runs(each) for each in reversed(replaced)], self._stop_if_aborted)
        for service in level:
            name = service["program"]
            launched = self.change.after.programs[name].launch
            self.programs.describe(service, launched, self.change.before.programs.get(name))
        self.supervisor.load([service["program"] for service in replaced], [])
        idle = set(on_demand) - running
        trial = [service for service in level if service["program"] in idle and service["prove"]]
        start = [service for service in replaced if service["program"] not in idle] + trial
        self.programs.start([service["program"] for service in start])
        asked = [self.bench.placed(each, self._waits_for(each["program"])) for each in start]
        self.programs.prove(asked, self.change.after, self._stop_if_aborted, emit=self.bench.emit)
        self.programs.stop(trial, self._stop_if_aborted)
        self.supervisor.enable([service["program"] for service in level if not service["on_demand"]])

    def _waits_for(self, program: str) -> bool:
        """Whether users do, while it starts: it ran before, or its requests are held."""
        return program in self._found.ran or self.passage.is_in_place(program)

    def _vacate(self, ports: Set[int], gpus: Set[str]) -> None:
        """Stop what goes away first where it holds a port, or has a GPU, that something new needs."""
        leaving = []
        for step in self.change.steps:
            if step.do is Do.REMOVE:
                record = self.change.before.programs[step.program]
                service = traffic.described(self.change.before, self.change.documents, step.program)
                if ports & set(service["ports"]) or gpus & set(record.devices):
                    leaving.append(service)
        if leaving:
            self.journal.add({"step": journal.TOUCH, "programs": [service["program"] for service in leaving]})
            for service in leaving:
                self.programs.step("stop", service["program"], "its place goes to another")
            self.programs.stop(leaving, self._stop_if_aborted)

    def _remove(self) -> None:
        behind = {each.program for each in self.passage.behind}
        gone = [step.program for step in self.change.steps if step.do is Do.REMOVE and step.program not in behind]
        if not gone:
            return
        self.journal.add({"step": journal.TOUCH, "programs": gone})
        for name in gone:
            self.programs.step("stop", name, "no longer declared")
        leaving = [service_of(self.change.documents, name, self.change.before.programs[name]) for name in gone]
        self.programs.stop(leaving, self._stop_if_aborted)
        self.programs.drop({name: self.change.before.programs[name].manifest for name in gone})

    def _rest(self) -> None:
        """Stop on purpose, those first that come after others."""
        resting = [self.services[step.program] for step in self.change.steps if step.do is Do.STOP]
        for level in reversed(levels(resting)):
            self._stop_if_aborted()
            self.journal.add({"step": journal.TOUCH, "programs": [service["program"] for service in level]})
            self.passage.rest([service["program"] for service in level])
            for service in level:
                self.programs.step("stop", service["program"], "on purpose")
            self.programs.stop(level, self._stop_if_aborted)
            self.programs.rest([service for service in level if not service["on_demand"]])

    def _prove_kept(self) -> None:
        kept = [step.program for step in self.change.steps if step.do is Do.KEEP and self.change.whole]
        running = [self.services[name] for name in kept if self.change.after.programs[name].is_to_run]
        self.programs.prove(running, self.change.after, self._stop_if_aborted, worked=True)

    def _project_checks(self) -> None:
        release = self.change.after.channels.get("stable")
        if release is None or all(step.do in (Do.KEEP, Do.STOP) for step in self.change.steps):
            return
        for check in self.change.documents[release]["lanes"]["stable"]["checks"]:
            outcome = checks.prove(check, Here(self.layout.release(release)), self._stop_if_aborted)
            self.emit(checks.event(outcome, ""))
            if not outcome.passed:
                raise Failure(UNPROVEN, outcome.sentence, facts={"attempts": outcome.attempts})

    def _stop_if_aborted(self) -> None:
        if self.aborted():
            raise Failure(INTERRUPTED, "interrupted")
