"""Commands that run once a release: run, undone, and written down.

Each is in the journal before it begins and once it has ended, so whoever finds an open journal can tell one that failed
from one that was cut off. What became of it is kept beside the state, whatever became of the transaction.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Callable, Dict, List, Mapping, Sequence, Tuple

from ..contract.failure import REFUSED, UNPROVEN, Failure
from ..contract.layout import Layout
from ..contract.once import CUT, DONE, FAILED, NOT_UNDONE, NOTE, RUN, UNDO_CUT, UNDONE, Decided
from . import commands, files, journal
from . import state as states
from .documents import read_documents
from .locks import Lock
from .masks import Masks
from .told import Told
from .venv import on_path

if TYPE_CHECKING:
    from ..contract.events import Emit
    from ..contract.records import Line, OnceRecord
    from ..contract.release import OnceDocument
    from ..contract.requests import OnceAsked

NOTHING_ASKED: OnceAsked = {"runner": "", "again": [], "done": [], "secrets": {}}
_KEPT = 200  # records
_LOCK_SECONDS = 15.0  # a command that was cut off is ended within it
_SAYS = {
    CUT: "was cut off, and nobody knows whether it is done",
    UNDONE: "was undone",
    NOT_UNDONE: "was not undone, for that failed",
    UNDO_CUT: "was being undone when that was cut off",
}


class Once:
    """The commands of one release, in one transaction.

    Args:
        emit: told what they say.
        stop: called now and then; raises where they are to be ended.
    """

    def __init__(self, layout: Layout, emit: Emit, stop: Callable[[], None] = lambda: None) -> None:
        self.layout = layout
        self.emit = emit
        self.stop = stop
        self.journal = journal.Journal(layout.journal)

    def stage(self, secrets: Mapping[str, Mapping[str, str]]) -> None:
        """Keep their secrets until the transaction has ended."""
        files.write_json(self.layout.once_secrets, secrets, 0o600)

    def run(self, release: str, declared: Mapping[str, OnceDocument], decided: Sequence[Decided], runner: str) -> None:
        """Run those that have to.

        Raises:
            Failure: one failed, or was ended.
        """
        for each in decided:
            if each.do == NOTE:
                line: Line = {"step": journal.ONCE_ENDED, "name": each.name, "release": release, "outcome": DONE}
                self.journal.add({**line, "why": runner})
            elif each.do == RUN:
                self.journal.add({"step": journal.ONCE, "name": each.name, "release": release})
                outcome, why, log = self._command(
                    f"once.{each.name}", each.name, release, declared[each.name], "command"
                )
                self.journal.add(
                    {"step": journal.ONCE_ENDED, "name": each.name, "release": release, "outcome": outcome, "why": why}
                )
                if outcome != DONE:
                    raise Failure(UNPROVEN, f"once.{each.name} {why}.", log=log)

    def undo(self, open_: journal.Open) -> List[str]:
        """Undo what ran, the last one first, where something undoes it; a sentence of each that could not be."""
        failed = []
        ran = {line["name"] for line in open_.lines if line["step"] == journal.ONCE}
        for record in reversed(told(open_)):
            if record["name"] not in ran or record["outcome"] not in (DONE, FAILED, CUT, NOT_UNDONE):
                continue
            name, release = record["name"], record["release"]
            document = read_documents(self.layout, [release]).get(release)
            step = document.get("once", {}).get(name) if document else None
            if not step or "undo" not in step:
                continue
            self.journal.add({"step": journal.ONCE_UNDO, "name": name, "release": release})
            outcome, why, _ = self._command(f"undo of once.{name}", name, release, step, "undo")
            ended = {DONE: UNDONE, FAILED: NOT_UNDONE, CUT: UNDO_CUT}[outcome]
            self.journal.add(
                {"step": journal.ONCE_UNDONE, "name": name, "release": release, "outcome": ended, "why": why}
            )
            if ended != UNDONE:
                failed.append(f"what undoes once.{name} {why}.")
        return failed

    def _command(self, what: str, name: str, release: str, step: OnceDocument, key: str) -> Tuple[str, str, List[str]]:
        """How it ended, in a word and in a sentence, and what it said last."""
        lock = Lock(os.path.join(self.layout.private, "once"))
        if not lock.take({"doing": what}, _LOCK_SECONDS):
            raise Failure(REFUSED, f"an earlier {what} is still being ended.", next_step="deploy up again")
        secrets: Dict[str, str] = (files.read_json(self.layout.once_secrets) or {}).get(name, {})
        masks = Masks(secrets.items())
        argv: List[str] = step[key]  # type: ignore[literal-required]
        self.emit({"event": "step", "step": "once", "program": "", "detail": f"{what}: {masks.mask(' '.join(argv))}"})
        heard = Told(masks, lambda text: self.emit({"event": "output", "source": f"once.{name}", "text": text}))
        try:
            ended = commands.run(
                argv,
                step["timeout"],
                cwd=self.layout.release(release),
                env=on_path(self.layout.release(release), {**os.environ, **step["env"], **secrets}),
                tell=heard,
                stop=self.stop,
                hold=[lock.fileno()],
            )
        except OSError as error:
            return FAILED, f"can't start: {error}", []
        finally:
            lock.release()
        heard.end()
        log = list(heard.last)
        if ended.late:
            return CUT, f"did not end in {step['timeout']:.0f} s, so it was ended", log
        if ended.status < 0:
            return CUT, f"was killed by signal {-ended.status}", log
        if ended.status:
            return FAILED, f"ended with status {ended.status}", log
        return DONE, "", log


def told(open_: journal.Open) -> List[OnceRecord]:
    """What a journal says of each command, in the order in which they began."""
    found: Dict[str, OnceRecord] = {}
    began = {journal.ONCE: CUT, journal.ONCE_UNDO: UNDO_CUT}
    for line in open_.lines:
        if line["step"] not in (*began, journal.ONCE_ENDED, journal.ONCE_UNDONE):
            continue
        name, noted = line["name"], line["step"] == journal.ONCE_ENDED and line["name"] not in found
        found[name] = {
            "name": name,
            "release": line["release"],
            "outcome": began.get(line["step"]) or line["outcome"],
            "why": "" if noted else line.get("why", ""),
            "time": int(time.time()),
            "transaction": open_.begin["transaction"],
        }
        if noted and line.get("why"):
            found[name]["host"] = line["why"]
    return list(found.values())


def keep(layout: Layout, open_: journal.Open) -> Dict[str, str]:
    """Write down what became of each; name -> outcome. May be repeated."""
    new = told(open_)
    if new:
        transaction = open_.begin["transaction"]
        before = [record for record in states.once(layout) if record["transaction"] != transaction]
        files.write_json(layout.once, [*before, *new][-_KEPT:], 0o600)
    return {record["name"]: record["outcome"] for record in new}


def sentences(found: Sequence[OnceRecord]) -> List[str]:
    """What whoever reads how a transaction ended has to know of them."""
    return [f"once.{record['name']} {_SAYS[record['outcome']]}." for record in found if record["outcome"] in _SAYS]
