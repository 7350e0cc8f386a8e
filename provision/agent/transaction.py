"""One activation on one host: commits, or puts everything back.

`before` and `after` are whole states. Going forward disturbs programs one level at a time, each only after a journal
line that says so; putting back makes the host what `before` says, whatever the journal's last line is, and may be
repeated. So killing this at any instruction leaves a host that `recover` can bring to one of the two.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Sequence, Set

from . import checks, decide, files, journal, launch, preflight, processes, supervision
from .checks.here import Here
from .documents import service_of
from .ending import finish, sentence, undo
from .layout import Layout
from .programs import Programs, levels
from .protocol import COMMITTED, DEGRADED, FAILED, INTERRUPTED, PUT_BACK, AgentError, Message
from .prove import Emit, NotProven, prove
from .state import State
from .supervisors import Activity, Supervisor


class Aborted(Exception):
    """Somebody asked to stop."""


@dataclass(frozen=True)
class Change:
    """What a transaction is to achieve, decided and complete."""

    transaction: str
    kind: str  # up, promote, rollback, down
    who: str
    agent: str  # digest of the agent that runs it
    before: State
    after: State
    steps: Sequence[decide.Step]
    documents: Dict[str, Dict[str, Any]]  # release -> release.json, of `before` and `after`
    secrets: Dict[str, str]  # today's values


class Transaction:
    """Carries out a `Change`."""

    def __init__(self, layout: Layout, supervisor: Supervisor, emit: Emit, aborted: Callable[[], bool]) -> None:
        self.layout = layout
        self.supervisor = supervisor
        self.programs = Programs(layout, supervisor, emit)
        self.emit = emit
        self.aborted = aborted
        self.journal = journal.Journal(layout.journal)

    def run(self, change: Change, view: decide.View) -> Message:
        """Bring the host from `before` to `after`.

        Raises:
            AgentError: refused before anything was disturbed, put back, or degraded; `kind` says which.
        """
        began = time.monotonic()
        services = {name: service_of(change.documents, name, record) for name, record in change.after.programs.items()}
        candidates = self._candidates(change)
        self.programs.step("preflight")
        documents = {release: change.documents[release] for release in set(change.after.channels.values())}
        preflight.check(self.layout, self.supervisor, change.steps, services, documents, view)
        for candidate in candidates:
            preflight.check(
                self.layout,
                self.supervisor,
                [decide.Step(candidate["program"], candidate["name"], "candidate", decide.START, decide.BESIDE)],
                {candidate["program"]: candidate},
                {},
                view,
            )
        try:
            self._stage(change, services, candidates)
            self._stop_if_aborted()
            self._begin(change, candidates)
        except Aborted:
            raise AgentError(INTERRUPTED, "interrupted before anything was disturbed.") from None
        except OSError as failure:
            raise AgentError(FAILED, f"the host can't prepare it: {failure}.", why="Nothing was disturbed.") from None
        try:
            self._try_beside(change, candidates)
            self._switch(change, services)
            self._remove(change)
            self._project_checks(change)
            self._stop_if_aborted()
            self.journal.add(journal.COMMIT)
        except (NotProven, AgentError, OSError, Aborted) as failure:
            self._give_up(failure, began)
        self._commit(change)
        self._stay_supervised(change)
        return {
            "event": "result",
            "outcome": COMMITTED,
            "generation": change.after.generation,
            "sequence": change.after.sequence,
            "channels": change.after.channels,
            "seconds": round(time.monotonic() - began, 3),
        }

    def _candidates(self, change: Change) -> List[Dict[str, Any]]:
        beside = {(step.service, step.lane) for step in change.steps if step.how == decide.BESIDE}
        found = []
        for record in change.after.programs.values():
            if (record.service, record.lane) in beside:
                document = change.documents[record.release]
                found += [
                    service
                    for service in document["lanes"]["candidate"]["services"]
                    if service["name"] == record.service
                ]
        return found

    def _stage(self, change: Change, services: Dict[str, Dict[str, Any]], candidates: List[Dict[str, Any]]) -> None:
        for step in change.steps:
            if step.do not in (decide.KEEP, decide.REMOVE):
                record = change.after.programs[step.program]
                launch.stage(self.layout, services[step.program], record.release, record.launch, change.secrets)
        for candidate in candidates:
            release = change.after.channels["stable"]
            launch.stage(self.layout, candidate, release, change.transaction, change.secrets)
        files.sync_filesystem(self.layout.run)

    def _begin(self, change: Change, candidates: List[Dict[str, Any]]) -> None:
        self._reserve()
        # It may have been killed since it was planned.
        supervision.restore(self.layout, self.supervisor, self.emit, patient=True)
        running = {}
        for name, seen in self.supervisor.observe(list(change.before.programs)).items():
            if seen.activity is Activity.RUNNING:
                running[name] = [seen.pid, processes.start_time(seen.pid)]
        for degraded in (self.journal.read() or [])[:1]:
            # What could not be put back last time is what "back" still means.
            running = {**{name: [0, 0] for name in degraded["running"]}, **running}
        self.journal.begin(
            {
                "transaction": change.transaction,
                "kind": change.kind,
                "who": change.who,
                "agent": change.agent,
                "before": change.before.as_dict(),
                "after": change.after.as_dict(),
                "candidates": {item["program"]: item["manifest"]["name"] for item in candidates},
                "running": running,
                "boot": processes.boot_id(),
                "time": time.time(),
            }
        )

    def _try_beside(self, change: Change, candidates: List[Dict[str, Any]]) -> None:
        """Prove the new beside the old, on ports of its own; the old ones are not touched."""
        if not candidates:
            return
        release = change.after.channels["stable"]
        names = [candidate["program"] for candidate in candidates]
        for candidate in candidates:
            self.programs.describe(candidate, change.transaction)
        self.supervisor.load(names, [])
        for level in levels(candidates):
            for candidate in level:
                self.programs.start(candidate["program"], "beside the old one")
            prove(self.supervisor, level, self.layout.release(release), self.emit, self._stop_if_aborted)
        self._stop_if_aborted()
        for candidate in reversed(candidates):
            self.programs.step("stop", candidate["program"], "proven")
            self.supervisor.stop(candidate["program"], candidate["stop_timeout"])
        self.programs.drop({name: item["manifest"]["name"] for name, item in zip(names, candidates)})

    def _switch(self, change: Change, services: Dict[str, Dict[str, Any]]) -> None:
        changed = [step for step in change.steps if step.do not in (decide.KEEP, decide.REMOVE)]
        self._vacate(change, {port for step in changed for port in services[step.program]["ports"]})
        do = {step.program: step.do for step in changed}
        for level in levels([services[step.program] for step in changed]):
            self._stop_if_aborted()
            names = [service["program"] for service in level]
            self.journal.add(journal.TOUCH, programs=names)
            load = []
            for service in reversed(level):
                name = service["program"]
                finishing = do[name] == decide.INSTALL and service["on_switch"] == "finish" and self.programs.runs(name)
                if not finishing:
                    self.programs.stop(_as_it_runs(change, service), self._stop_if_aborted)
                launched = change.after.programs[name].launch
                self.programs.describe(service, launched, change.before.programs.get(name))
                # While an on-demand program finishes on its old code, its supervisor keeps the old description.
                if not finishing:
                    load.append(name)
            self.supervisor.load(load, [])
            start = [service for service in level if do[service["program"]] != decide.INSTALL]
            start += [service for service in level if do[service["program"]] == decide.INSTALL and service["prove"]]
            for service in start:
                self.programs.start(service["program"])
            self.programs.prove(start, change.after, self._stop_if_aborted)
            for service in start:
                if do[service["program"]] == decide.INSTALL:
                    self.programs.stop(service, self._stop_if_aborted)
            self.supervisor.enable([service["program"] for service in level if not service["on_demand"]])

    def _vacate(self, change: Change, ports: Set[int]) -> None:
        """Stop what goes away first where it holds a port that something new needs."""
        for step in change.steps:
            if step.do == decide.REMOVE:
                service = service_of(change.documents, step.program, change.before.programs[step.program])
                if ports & set(service["ports"]):
                    self.journal.add(journal.TOUCH, programs=[step.program])
                    self.programs.step("stop", step.program, "its port goes to another service")
                    self.programs.stop(service, self._stop_if_aborted)

    def _remove(self, change: Change) -> None:
        gone = [step.program for step in change.steps if step.do == decide.REMOVE]
        if not gone:
            return
        self.journal.add(journal.TOUCH, programs=gone)
        for name in gone:
            record = change.before.programs[name]
            self.programs.step("stop", name, "no longer declared")
            self.programs.stop(service_of(change.documents, name, record), self._stop_if_aborted)
        self.programs.drop({name: change.before.programs[name].manifest for name in gone})

    def _project_checks(self, change: Change) -> None:
        release = change.after.channels.get("stable")
        if release is None or all(step.do == decide.KEEP for step in change.steps):
            return
        for check in change.documents[release]["lanes"]["stable"]["checks"]:
            outcome = checks.prove(check, Here(self.layout.release(release)), self._stop_if_aborted)
            self.emit(checks.event(outcome, ""))
            if not outcome.passed:
                raise NotProven(outcome.sentence, "", [], attempts=outcome.attempts)

    def _commit(self, change: Change) -> None:
        facts = {"kind": change.kind, "who": change.who, "transaction": change.transaction}
        try:
            finish(self.layout, change.before, change.after, when=time.time(), **facts)
        except OSError as failure:
            raise AgentError(
                DEGRADED,
                f"the new release is proven and serves, but the host can't write that down: {failure}.",
                next_step="mend that, then deploy unlock finishes it, and so does the next deploy up",
            ) from None

    def _stay_supervised(self, change: Change) -> None:
        """A supervisor that was killed after the proof has left nobody who would restart what it proved."""
        after = change.after
        try:
            if self.supervisor.gone():
                supervision.restore(self.layout, self.supervisor, self.emit, patient=True)
                running = [name for name, record in after.programs.items() if not record.on_demand]
                services = [service_of(change.documents, name, after.programs[name]) for name in running]
                self.programs.prove(services, after, lambda: None)
        except (NotProven, AgentError, OSError) as failure:
            raise AgentError(
                DEGRADED,
                f"the new release was proven, but then {self.supervisor.kind} was lost: {sentence(failure)}",
                next_step="deploy status; then deploy up, or deploy unlock",
            ) from None
        self.programs.remember(after)

    def _give_up(self, failure: BaseException, began: float) -> None:
        """Put back, and raise what is to be reported."""
        self.emit({"event": "step", "step": "undo", "program": "", "detail": sentence(failure)})
        program = getattr(failure, "program", "")
        report: Dict[str, Any] = {
            "program": program,
            "log": getattr(failure, "log", []),
            "facts": getattr(failure, "facts", {}),
        }
        try:
            now = undo(self.programs)
        except (NotProven, AgentError, OSError) as second:
            raise AgentError(
                DEGRADED,
                sentence(failure),
                why="Putting the old release back failed too: " + sentence(second),
                next_step="deploy logs" + (f" {program}" if program else "") + "; then deploy up, or deploy unlock",
                **report,
            ) from None
        kind = INTERRUPTED if isinstance(failure, Aborted) else PUT_BACK
        raise AgentError(
            kind, sentence(failure), why=now, seconds=round(time.monotonic() - began, 3), **report
        ) from None

    def _stop_if_aborted(self) -> None:
        if self.aborted():
            raise Aborted("interrupted")

    def _reserve(self) -> None:
        """Hold some disk space, so that undoing has room on a disk that fills up meanwhile."""
        fd = os.open(self.layout.reserve, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(fd, 0, 1 << 20)
        finally:
            os.close(fd)


def _as_it_runs(change: Change, service: Dict[str, Any]) -> Dict[str, Any]:
    """How the release that a program was started from describes it; the new one's word where that is gone."""
    record = change.before.programs.get(service["program"])
    if record is None or record.release not in change.documents:
        return service
    return service_of(change.documents, service["program"], record)
