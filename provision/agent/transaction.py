"""One activation on one host: commits, or puts everything back.

`before` and `after` are whole states. Going forward disturbs programs one level at a time, each only after a journal
line that says so; putting back makes the host what `before` says, whatever the journal's last line is, and may be
repeated. So killing this at any instruction leaves a host that `recover` can bring to one of the two.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Sequence, Set

from . import checks, decide, files, journal, launch, preflight, processes
from . import state as states
from .documents import digest_of, manifest_digest, read_documents, service_of
from .layout import Layout
from .protocol import COMMITTED, DEGRADED, INTERRUPTED, PUT_BACK, AgentError, Message
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
        self.emit = emit
        self.aborted = aborted
        self.journal = journal.Journal(layout.journal)

    # Forward

    def run(self, change: Change, view: decide.View) -> Message:
        """Bring the host from `before` to `after`.

        Raises:
            AgentError: refused before anything was disturbed, put back, or degraded; `kind` says which.
        """
        began = time.monotonic()
        services = {name: service_of(change.documents, name, record) for name, record in change.after.programs.items()}
        candidates = self._candidates(change)
        self._step("preflight")
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
        self._stage(change, services, candidates)
        if self.aborted():
            raise AgentError(INTERRUPTED, "interrupted before anything was disturbed.")
        self._begin(change, candidates)
        try:
            self._try_beside(change, candidates)
            self._switch(change, services)
            self._remove(change)
            self._project_checks(change)
            self._stop_if_aborted()
            self.journal.add(journal.COMMIT)
        except (NotProven, AgentError, OSError, Aborted) as failure:
            self._give_up(failure, began)
        self.finish(change.before, change.after, change.kind, change.who, time.time(), change.transaction)
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
            launch.select(self.layout, candidate["program"], change.transaction)
            self._write_manifest(candidate)
        self.supervisor.load(names, [])
        for level in levels(candidates):
            for candidate in level:
                self._step("start", candidate["program"], "beside the old one")
                self.supervisor.start(candidate["program"])
            prove(self.supervisor, level, self.layout.release(release), self.emit, self._stop_if_aborted)
        self._stop_if_aborted()
        for candidate in reversed(candidates):
            self._step("stop", candidate["program"], "proven")
            self.supervisor.stop(candidate["program"], candidate["stop_timeout"])
        self._drop({name: item["manifest"]["name"] for name, item in zip(names, candidates)})

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
                finishing = do[name] == decide.INSTALL and service["on_switch"] == "finish" and self._runs(name)
                if not finishing:
                    self._stop(name, service["stop_timeout"])
                launch.select(self.layout, name, change.after.programs[name].launch)
                self._write_manifest(service)
                # While an on-demand program finishes on its old code, its supervisor keeps the old description.
                if not finishing:
                    load.append(name)
            self.supervisor.load(load, [])
            start = [service for service in level if do[service["program"]] != decide.INSTALL]
            start += [service for service in level if do[service["program"]] == decide.INSTALL and service["prove"]]
            for service in start:
                self._step("start", service["program"])
                self.supervisor.start(service["program"])
            self._prove(start, change.after, self._stop_if_aborted)
            for service in start:
                if do[service["program"]] == decide.INSTALL:
                    self._stop(service["program"], service["stop_timeout"])
            self.supervisor.enable([service["program"] for service in level if not service["on_demand"]])

    def _vacate(self, change: Change, ports: Set[int]) -> None:
        """Stop what goes away first where it holds a port that something new needs."""
        for step in change.steps:
            if step.do == decide.REMOVE:
                service = service_of(change.documents, step.program, change.before.programs[step.program])
                if ports & set(service["ports"]):
                    self.journal.add(journal.TOUCH, programs=[step.program])
                    self._step("stop", step.program, "its port goes to another service")
                    self._stop(step.program, service["stop_timeout"])

    def _remove(self, change: Change) -> None:
        gone = [step.program for step in change.steps if step.do == decide.REMOVE]
        if not gone:
            return
        self.journal.add(journal.TOUCH, programs=gone)
        for name in gone:
            record = change.before.programs[name]
            self._step("stop", name, "no longer declared")
            self._stop(name, service_of(change.documents, name, record)["stop_timeout"])
        self._drop({name: change.before.programs[name].manifest for name in gone})

    def _project_checks(self, change: Change) -> None:
        release = change.after.channels.get("stable")
        if release is None or all(step.do == decide.KEEP for step in change.steps):
            return
        for check in change.documents[release]["lanes"]["stable"]["checks"]:
            outcome = checks.prove(check, self.layout.release(release), self._stop_if_aborted)
            self.emit(checks.event(outcome, ""))
            if not outcome.passed:
                raise NotProven(outcome.sentence, "", [], attempts=outcome.attempts)

    def finish(self, before: State, after: State, kind: str, who: str, when: float, transaction: str) -> None:
        """Make the proven state the committed one; may be repeated."""
        files.remove(self.layout.reserve)  # first: the rest needs room
        for name in {*before.channels, *after.channels}:
            if name in after.channels:
                files.point(self.layout.channel(name), os.path.join("releases", after.channels[name]))
            else:
                files.remove(self.layout.channel(name))
        entry = {
            "sequence": after.sequence,
            "kind": kind,
            "who": who,
            "time": int(when),
            "transaction": transaction,
            "channels": after.channels,
            "outcome": COMMITTED,
        }
        files.write_json(os.path.join(self.layout.history, f"{after.sequence:08d}.json"), entry)
        states.write(self.layout, after)
        self.journal.end()

    # Back

    def _give_up(self, failure: BaseException, began: float) -> None:
        """Put back, and raise what is to be reported."""
        self.emit({"event": "step", "step": "undo", "program": "", "detail": _sentence(failure)})
        program = getattr(failure, "program", "")
        report: Dict[str, Any] = {
            "program": program,
            "log": getattr(failure, "log", []),
            "facts": getattr(failure, "facts", {}),
        }
        try:
            now = self.undo()
        except (NotProven, AgentError, OSError) as second:
            raise AgentError(
                DEGRADED,
                _sentence(failure),
                why="Putting the old release back failed too: " + _sentence(second),
                next_step="deploy logs" + (f" {program}" if program else "") + "; then deploy up, or deploy unlock",
                **report,
            ) from None
        kind = INTERRUPTED if isinstance(failure, Aborted) else PUT_BACK
        raise AgentError(
            kind, _sentence(failure), why=now, seconds=round(time.monotonic() - began, 3), **report
        ) from None

    def undo(self) -> str:
        """Make the host what the journal's `before` says, and prove it; a sentence of what serves now.

        Raises:
            NotProven, AgentError, OSError: it can't be proven; the journal is kept and says `degraded`.
        """
        records = self.journal.read() or []
        begin = records[0]
        before = states.from_dict(begin["before"])
        files.remove(self.layout.reserve)
        self._note(journal.UNDO)
        try:
            self._put_back(before, begin, {name for record in records for name in record.get("programs", [])})
        except (NotProven, AgentError, OSError) as failure:
            self._note(journal.DEGRADED, why=_sentence(failure))
            raise
        self.journal.end()
        return _what_serves(before, begin["running"])

    def _note(self, step: str, **facts: Any) -> None:
        """Write down how far the way back is, if the disk has room: that the journal is there says enough."""
        try:
            self.journal.add(step, **facts)
        except OSError:
            pass

    def _put_back(self, before: State, begin: Dict[str, Any], touched: Set[str]) -> None:
        """Every part that can be put back is, whichever other can't; then the first failure is raised."""
        failures: List[Exception] = []
        documents = read_documents(self.layout, {record.release for record in before.programs.values()})
        after = states.from_dict(begin["after"])
        new = {name: after.programs[name].manifest for name in sorted(touched) if name not in before.programs}
        new.update(begin["candidates"])
        with _collected(failures):
            for name in new:
                self._stop(name, 10.0)
            self._drop(new)
        start, load = [], []
        for name, record in before.programs.items():
            with _collected(failures):
                service = service_of(documents, name, record)
                if name in begin["running"]:
                    start.append(service)
                if name in touched:
                    if not self._still_runs(name, begin):
                        self._stop(name, service["stop_timeout"])
                    launch.select(self.layout, name, record.launch)
                    self._write_manifest(service)
                    load.append(name)
        with _collected(failures):
            self.supervisor.load(load, [])
        for level in levels(start):
            with _collected(failures):
                for service in level:
                    if not self._runs(service["program"]):
                        self._step("start", service["program"], "as before")
                        self.supervisor.start(service["program"])
                self._prove(level, before, lambda: None)
        with _collected(failures):
            self.supervisor.enable([service["program"] for service in start if not service["on_demand"]])
        if failures:
            raise failures[0]

    def _still_runs(self, name: str, begin: Dict[str, Any]) -> bool:
        """Whether the very process of before runs: announced but not reached, or finishing on its old code."""
        pid, began = begin["running"].get(name, (0, 0))
        return (
            pid != 0
            and begin["boot"] == processes.boot_id()
            and processes.start_time(pid) == began
            and self._runs(name)
        )

    # Parts

    def _runs(self, name: str) -> bool:
        return self.supervisor.observe([name])[name].activity is Activity.RUNNING

    def _stop(self, name: str, timeout: float) -> None:
        seen = self.supervisor.observe([name])[name]
        if seen.activity is not Activity.ABSENT:
            self.supervisor.stop(name, timeout)

    def _prove(self, services: Sequence[Dict[str, Any]], state: State, stop: Callable[[], None]) -> None:
        """Prove services together, each from the release that `state` says it runs from."""
        for release in {state.programs[service["program"]].release for service in services}:
            group = [item for item in services if state.programs[item["program"]].release == release]
            prove(self.supervisor, group, self.layout.release(release), self.emit, stop)

    def _write_manifest(self, service: Dict[str, Any]) -> None:
        manifest = service["manifest"]
        if manifest_digest(self.supervisor, manifest["name"]) != digest_of(manifest["text"]):
            files.write(self.supervisor.manifest_path(manifest["name"]), manifest["text"], 0o644)

    def _drop(self, manifests: Dict[str, str]) -> None:
        """Remove manifests of stopped programs, then their launch folders."""
        if not manifests:
            return
        self.supervisor.disable(list(manifests))
        for manifest in manifests.values():
            files.remove(self.supervisor.manifest_path(manifest))
        self.supervisor.load([], list(manifests))
        for name in manifests:
            files.remove_tree(self.layout.launchers(name))

    def _step(self, step: str, program: str = "", detail: str = "") -> None:
        self.emit({"event": "step", "step": step, "program": program, "detail": detail})

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


@contextmanager
def _collected(failures: List[Exception]) -> Iterator[None]:
    try:
        yield
    except (NotProven, AgentError, OSError) as failure:
        failures.append(failure)


def _what_serves(before: State, running: Dict[str, Any]) -> str:
    """What a host is back to."""
    release = before.channels.get("stable")
    if not release:
        return "Nothing was deployed before; nothing is now."
    down = [name for name, record in before.programs.items() if not record.on_demand and name not in running]
    if down:
        return f"It is as before: release {release[:12]}, in which {', '.join(down)} did not run."
    return f"The old release {release[:12]} serves."


def _sentence(failure: BaseException) -> str:
    if isinstance(failure, AgentError):
        return f"{failure.what} {failure.why}".strip()
    return str(getattr(failure, "what", "")) or str(failure)


def levels(services: Sequence[Dict[str, Any]]) -> List[List[Dict[str, Any]]]:
    """Services in the order of their `after`, grouped so that a group needs nothing of itself."""
    left = list(services)
    names = {service["name"] for service in left}
    done: Set[str] = set()
    grouped: List[List[Dict[str, Any]]] = []
    while left:
        ready = [item for item in left if not (set(item.get("after", ())) & names) - done] or left
        grouped.append(ready)
        done |= {item["name"] for item in ready}
        left = [item for item in left if item not in ready]
    return grouped
