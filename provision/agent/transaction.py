"""One activation on one host: commits, or puts everything back.

`before` and `after` are whole states. Going forward disturbs programs one level at a time, each only after a journal
line that says so; putting back makes the host what `before` says, whatever the journal's last line is, and may be
repeated. So killing this at any instruction leaves a host that `recover` can bring to one of the two.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set

from ..contract import devices, failure
from ..contract.decide import Do, HostView, Step, candidates
from ..contract.failure import DEGRADED, FAILED, INTERRUPTED, PUT_BACK, UNPROVEN, Failure
from ..contract.layout import Layout
from ..contract.once import Decided
from ..contract.outcome import COMMITTED
from ..contract.slots import services_in
from ..contract.state import State
from . import (
    checks,
    files,
    importable,
    journal,
    launch,
    measured,
    preflight,
    private_logs,
    processes,
    sharing,
    supervision,
    traffic,
    unwritable,
)
from . import state as states
from .booted import boot_id
from .checks.here import Here
from .documents import service_of
from .ending import finish, leave, undo
from .keeper import scripts
from .once import Once
from .passage import Passage
from .programs import Programs, levels
from .prove import prove
from .supervisors import Activity, Supervisor

if TYPE_CHECKING:
    from ..contract.answers import Transacted
    from ..contract.events import Details, Emit
    from ..contract.records import Begun, Noted, Taken
    from ..contract.release import ReleaseDocument, ServiceDocument


class Change(NamedTuple):
    """What a transaction is to achieve, decided and complete."""

    transaction: str
    kind: str  # up, promote, rollback, down; restart, start, stop
    who: str
    agent: str  # digest of the agent that runs it
    before: State
    after: State
    steps: Sequence[Step]
    documents: Mapping[str, ReleaseDocument]  # release -> release.json, of `before` and `after`
    secrets: Dict[str, str]  # today's values
    whole: bool = False  # whether what is kept as it runs is proven as well
    noted: Noted = {}
    once: Sequence[Decided] = ()  # what runs once for the release that comes, or is noted as done
    once_release: str = ""
    once_runner: str = ""
    once_secrets: Mapping[str, Mapping[str, str]] = {}


class Transaction:
    """Carries out a `Change`."""

    def __init__(self, layout: Layout, supervisor: Supervisor, emit: Emit, aborted: Callable[[], bool]) -> None:
        self.layout = layout
        self.supervisor = supervisor
        self.programs = Programs(layout, supervisor, emit)
        self.emit = emit
        self.aborted = aborted
        self.journal = journal.Journal(layout.journal)
        self._commands = Once(layout, emit, self._stop_if_aborted)
        self._taken: List[Taken] = []
        self._ran: Dict[str, List[int]] = {}  # program -> pid and start time, as it began

    def run(self, change: Change, view: HostView) -> Transacted:
        """Bring the host from `before` to `after`.

        Raises:
            Failure: refused before anything was disturbed, put back, or degraded; `kind` says which.
        """
        began = time.monotonic()
        services = {name: traffic.described(change.after, change.documents, name) for name in change.after.programs}
        beside = candidates(change.steps, change.documents, change.after.channels.get("stable", ""))
        self.bench = measured.Bench(self.layout, change.before, change.after, change.documents, self.emit)
        self.programs.waits.know(services.values())
        self.programs.waits.know(_before(change))
        self.passage = Passage(
            self.layout,
            change.before,
            change.after,
            change.documents,
            self.programs.step,
            lambda: self.journal.add({"step": journal.TRAFFIC}),
            self._stop_if_aborted,
            self.programs.waits.holds,
        )
        self.programs.step("preflight")
        documents = {release: change.documents[release] for release in set(change.after.channels.values())}
        preflight.check(self.layout, self.supervisor, change.steps, services, beside, documents, view)
        self.passage.demand()
        sharing.demand(self.layout, change.after, change.documents)
        try:
            self._stage(change, services, beside, view)
            if self.aborted():
                raise Failure(INTERRUPTED, "interrupted before anything was disturbed.")
            self._begin(change, beside, view)
        except OSError as error:
            raise Failure(FAILED, f"the host can't prepare it: {error}.", why="Nothing was disturbed.") from None
        try:
            self._try_beside(change, beside)
            self._once(change)
            self._take()
            self._switch(change, services)
            self._move(change, services)
            self._remove(change)
            self._rest(change, services)
            self._prove_kept(change, services)
            self._project_checks(change)
            self.passage.end()
            self._stop_if_aborted()
            self.journal.add({"step": journal.COMMIT})
        except (Failure, OSError) as error:
            self._give_up(change, failure.of(error), began)
        self._commit(change)
        self._stay_supervised(change)
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

    def _stage(
        self,
        change: Change,
        services: Mapping[str, ServiceDocument],
        beside: Sequence[ServiceDocument],
        view: HostView,
    ) -> None:
        gpus = view.gpus or ()
        if self.supervisor.logs_in_project:
            users = {launch.owner(service["user"]) for service in services.values()}
            private_logs.keep(self.layout.logs, filter(None, users))
        for step in change.steps:
            if step.changes:
                record = change.after.programs[step.program]
                given = devices.variables(step.devices, gpus)
                launch.stage(self.layout, services[step.program], record.release, record.launch, change.secrets, given)
        if any(self.passage.is_front(step.program) and step.do is not Do.REMOVE for step in change.steps):
            traffic.stage(self.layout)  # also where it stays: the one that it was started from may have gone
        scripts.stage(self.layout, change.after, self.supervisor, change.agent)
        trials = {step.service: devices.variables(step.trial, gpus) for step in change.steps if step.trial}
        for candidate in beside:
            release, given = change.after.channels["stable"], trials.get(candidate["name"], {})
            launch.stage(self.layout, candidate, release, change.transaction, change.secrets, given)
        if change.once:
            self._commands.stage(change.once_secrets)
        files.sync_filesystem(self.layout.run)

    def _begin(self, change: Change, beside: Sequence[ServiceDocument], view: HostView) -> None:
        self._reserve()
        # It may have been killed since it was planned.
        supervision.restore(self.layout, self.supervisor, self.emit, patient=True)
        # What ran on without its supervisor, which somebody else has started again, served as well.
        running = {
            name: [0, 0] for name, seen in view.programs.items() if seen["activity"] == Activity.UNSUPERVISED.value
        }
        for name, seen in self.supervisor.observe(list(change.before.programs)).items():
            if seen.activity is Activity.RUNNING:
                running[name] = [seen.pid, processes.start_time(seen.pid)]
        degraded = self.journal.left_open()
        if degraded:  # what could not be put back last time is what "back" still means
            running = {**{name: [0, 0] for name in degraded.begin["running"]}, **running}
        self._ran = running
        changes = any(step.changes for step in change.steps)
        self._taken = self.supervisor.theirs(self.supervisor.taking) if changes else []
        if degraded:  # what it had taken is what "back" gives back
            self._taken = [*degraded.begin.get("taken", []), *self._taken]
        self.journal.begin(
            {
                "step": journal.BEGIN,
                "transaction": change.transaction,
                "kind": change.kind,
                "who": change.who,
                "agent": change.agent,
                "before": change.before.as_dict(),
                "after": change.after.as_dict(),
                "candidates": {item["program"]: item["manifest"]["name"] for item in beside},
                "behind": [each.program for each in self.passage.behind],
                "running": running,
                "boot": boot_id(),
                "time": time.time(),
                "taken": self._taken,
                **change.noted,
            }
        )

    def _take(self) -> None:
        """Stop what somebody else's configuration starts, and this target takes over."""
        if self._taken:
            self.journal.add({"step": journal.TAKE})
            for each in self._taken:
                self.programs.step("stop", each["name"], f"of {each['path']}, taken over")
            self.supervisor.take(self._taken)

    def _try_beside(self, change: Change, beside: Sequence[ServiceDocument]) -> None:
        """Prove the new beside the old, on ports of its own; the old ones are not touched."""
        if not beside:
            return
        release = change.after.channels["stable"]
        names = [candidate["program"] for candidate in beside]
        for candidate in beside:
            self.programs.describe(candidate, change.transaction)
        self.supervisor.load(names, [])
        for level in levels(beside):
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
        for candidate in reversed(beside):
            self.programs.step("stop", candidate["program"], "proven")
        self.supervisor.stop({candidate["program"]: candidate["stop_timeout"] for candidate in beside})
        self.programs.drop({name: item["manifest"]["name"] for name, item in zip(names, beside)})

    def _once(self, change: Change) -> None:
        """Once what can be proven beside is, and before anything that users reach changes."""
        if change.once:
            declared = change.documents[change.once_release].get("once", {})
            self._commands.run(change.once_release, declared, change.once, change.once_runner)
            self._stop_if_aborted()

    def _switch(self, change: Change, services: Mapping[str, ServiceDocument]) -> None:
        changed = [step for step in change.steps if step.changes and not self.passage.is_front(step.program)]
        self._vacate(
            change,
            {port for step in changed for port in services[step.program]["ports"]},
            {uuid for step in changed for uuid in step.devices},
        )
        front = self._front(change, services)
        if front and (ports := self.passage.open()):
            self._bring(change, [{**front, "ports": ports}])
        for level in levels([services[step.program] for step in changed]):
            for part in self.passage.parts(level):
                self._stop_if_aborted()
                names = [each["program"] for each in part]
                for name in filter(self.passage.is_in_place, names):
                    self.passage.leave(name)
                self._bring(change, part)
                self.passage.enter(names)

    def _front(self, change: Change, services: Mapping[str, ServiceDocument]) -> Optional[ServiceDocument]:
        """What stands before the others, where it is to be started."""
        changed = (step.program for step in change.steps if step.changes)
        return next((services[name] for name in changed if self.passage.is_front(name)), None)

    def _move(self, change: Change, services: Mapping[str, ServiceDocument]) -> None:
        """Everything new is proven: requests come to it."""
        self._stop_if_aborted()
        front = self._front(change, services)
        self._vacate(change, self.passage.ports(), set())
        self.passage.move()
        if front and self.passage.is_opened:
            self.programs.prove([front], change.after, self._stop_if_aborted)
        elif front:
            self._bring(change, [front])
        if self.passage.stands:
            sharing.settle(self.layout, change.after, change.documents)

    def _bring(self, change: Change, level: Sequence[ServiceDocument]) -> None:
        """Stop what a level's programs were, start what they are to be, and prove it."""
        do = {step.program: step.do for step in change.steps}
        names = [service["program"] for service in level]
        self.journal.add({"step": journal.TOUCH, "programs": names})
        on_demand = [name for name in names if do[name] is Do.INSTALL]
        running = self.programs.running(on_demand)
        # While a program finishes on its old code, its supervisor keeps the old description.
        finishing = {each["program"] for each in level if each["program"] in running and each["on_switch"] == "finish"}
        replaced = [service for service in level if service["program"] not in finishing]
        self.programs.stop([_as_it_runs(change, each) for each in reversed(replaced)], self._stop_if_aborted)
        for service in level:
            name = service["program"]
            launched = change.after.programs[name].launch
            self.programs.describe(service, launched, change.before.programs.get(name))
        self.supervisor.load([service["program"] for service in replaced], [])
        idle = set(on_demand) - running
        trial = [service for service in level if service["program"] in idle and service["prove"]]
        start = [service for service in replaced if service["program"] not in idle] + trial
        self.programs.start([service["program"] for service in start])
        asked = [self.bench.placed(each, self._waits_for(each["program"])) for each in start]
        self.programs.prove(asked, change.after, self._stop_if_aborted, emit=self.bench.emit)
        self.programs.stop(trial, self._stop_if_aborted)
        self.supervisor.enable([service["program"] for service in level if not service["on_demand"]])

    def _waits_for(self, program: str) -> bool:
        """Whether users do, while it starts: it ran before, or its requests are held."""
        return program in self._ran or self.passage.is_in_place(program)

    def _vacate(self, change: Change, ports: Set[int], gpus: Set[str]) -> None:
        """Stop what goes away first where it holds a port, or has a GPU, that something new needs."""
        leaving = []
        for step in change.steps:
            if step.do is Do.REMOVE:
                record = change.before.programs[step.program]
                service = traffic.described(change.before, change.documents, step.program)
                if ports & set(service["ports"]) or gpus & set(record.devices):
                    leaving.append(service)
        if leaving:
            self.journal.add({"step": journal.TOUCH, "programs": [service["program"] for service in leaving]})
            for service in leaving:
                self.programs.step("stop", service["program"], "its place goes to another")
            self.programs.stop(leaving, self._stop_if_aborted)

    def _remove(self, change: Change) -> None:
        behind = {each.program for each in self.passage.behind}
        gone = [step.program for step in change.steps if step.do is Do.REMOVE and step.program not in behind]
        if not gone:
            return
        self.journal.add({"step": journal.TOUCH, "programs": gone})
        for name in gone:
            self.programs.step("stop", name, "no longer declared")
        leaving = [service_of(change.documents, name, change.before.programs[name]) for name in gone]
        self.programs.stop(leaving, self._stop_if_aborted)
        self.programs.drop({name: change.before.programs[name].manifest for name in gone})

    def _rest(self, change: Change, services: Mapping[str, ServiceDocument]) -> None:
        """Stop on purpose, those first that come after others."""
        resting = [services[step.program] for step in change.steps if step.do is Do.STOP]
        for level in reversed(levels(resting)):
            self._stop_if_aborted()
            self.journal.add({"step": journal.TOUCH, "programs": [service["program"] for service in level]})
            self.passage.rest([service["program"] for service in level])
            for service in level:
                self.programs.step("stop", service["program"], "on purpose")
            self.programs.stop(level, self._stop_if_aborted)
            self.programs.rest([service for service in level if not service["on_demand"]])

    def _prove_kept(self, change: Change, services: Mapping[str, ServiceDocument]) -> None:
        kept = [step.program for step in change.steps if step.do is Do.KEEP and change.whole]
        running = [services[name] for name in kept if change.after.programs[name].is_to_run]
        self.programs.prove(running, change.after, self._stop_if_aborted, worked=True)

    def _project_checks(self, change: Change) -> None:
        release = change.after.channels.get("stable")
        if release is None or all(step.do in (Do.KEEP, Do.STOP) for step in change.steps):
            return
        for check in change.documents[release]["lanes"]["stable"]["checks"]:
            outcome = checks.prove(check, Here(self.layout.release(release)), self._stop_if_aborted)
            self.emit(checks.event(outcome, ""))
            if not outcome.passed:
                raise Failure(UNPROVEN, outcome.sentence, facts={"attempts": outcome.attempts})

    def _commit(self, change: Change) -> None:
        try:
            begun: Begun = {
                "kind": change.kind,
                "who": change.who,
                "transaction": change.transaction,
                "time": time.time(),
                **change.noted,
            }
            if self.bench.results:
                begun["bench"] = self.bench.by_service()
                self.bench.keep()
            finish(self.layout, change.before, change.after, begun, lambda: self._leave(change))
        except (Failure, OSError) as error:
            what = "end what was before" if isinstance(error, Failure) else "write that down"
            raise Failure(
                DEGRADED,
                f"the new release is proven and serves, but the host can't {what}: {str(error).rstrip('.')}.",
                next_step="mend that, then deploy unlock finishes it, and so does the next deploy up",
            ) from None

    def _leave(self, change: Change) -> None:
        if self.passage.behind:  # whom only a supervisor ends
            self._revive(change.after, change.documents)
        leave(self.programs)

    def _revive(self, after: State, documents: Mapping[str, ReleaseDocument]) -> None:
        """A supervisor that was killed after the proof has left nobody who would restart what it proved."""
        if self.supervisor.gone():
            supervision.restore(self.layout, self.supervisor, self.emit, patient=True)
            running = [name for name, record in after.programs.items() if record.is_to_run]
            services = [traffic.described(after, documents, name) for name in running]
            self.programs.prove(services, after, worked=True)

    def _stay_supervised(self, change: Change) -> None:
        after = change.after
        try:
            self._revive(after, change.documents)
        except (Failure, OSError) as error:
            lost = failure.of(error).sentence
            raise Failure(
                DEGRADED,
                f"the new release was proven, but then {self.supervisor.kind} was lost: {lost}",
                next_step="deploy status; then deploy up, or deploy unlock",
            ) from None
        self.programs.remember(after, change.before, self._ran)

    def _give_up(self, change: Change, failed: Failure, began: float) -> None:
        """Put back, and raise what is to be reported."""
        self.programs.step("undo", detail=failed.sentence)
        program = failed.details.get("program", "")
        report: Details = {
            "program": program,
            "log": failed.details.get("log", []),
            "facts": failed.details.get("facts", {}),
        }
        # Read now: the log may go with what is put back.
        record = change.after.programs.get(program)
        release = record.release if record else change.after.channels.get("stable", "")
        service = record.service if record else program.rpartition(".")[0]
        next_step = unwritable.explain(failed, self.layout.release(release), service) if release and program else ""
        try:
            now = undo(self.programs)
        except (Failure, OSError) as error:
            record = change.after.programs.get(program)
            service = record.service if record else ""
            back = states.way_back(self.layout, change.before, states.history(self.layout))
            raise Failure(
                DEGRADED,
                failed.sentence,
                why="Putting the old release back failed too: " + failure.of(error).sentence,
                next_step=failure.out_of_degraded(service, back),
                **report,
            ) from None
        report["seconds"] = round(time.monotonic() - began, 3)
        report["waited"] = self.programs.waits.told()
        report["held"] = self.programs.waits.holds.told()
        if report["waited"]:
            now += f" Users waited {max(report['waited'].values()):.1f} s."
        kind = INTERRUPTED if failed.kind == INTERRUPTED else PUT_BACK
        step = next_step or failed.next_step or ("deploy up, once that is mended" if kind == PUT_BACK else "")
        raise Failure(kind, failed.sentence, now, step, **report) from None

    def _stop_if_aborted(self) -> None:
        if self.aborted():
            raise Failure(INTERRUPTED, "interrupted")

    def _reserve(self) -> None:
        """Hold some disk space, so that undoing has room on a disk that fills up meanwhile."""
        fd = os.open(self.layout.reserve, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(fd, 0, 1 << 20)
        finally:
            os.close(fd)


def _before(change: Change) -> Iterator[ServiceDocument]:
    """The programs of before, as far as their releases are known."""
    for name, record in change.before.programs.items():
        document = change.documents.get(record.release)
        yield from (each for each in services_in(document, record.slot) if each["program"] == name) if document else ()


def _as_it_runs(change: Change, service: ServiceDocument) -> ServiceDocument:
    """How the release that a program was started from describes it; the new one's word where that is gone."""
    record = change.before.programs.get(service["program"])
    if record is None or record.release not in change.documents:
        return service
    return service_of(change.documents, service["program"], record)
