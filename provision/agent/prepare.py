"""The prepare step: a command of the project's, run in an incoming release before that has its name.

What it makes lies in `shared/prepared/DIGEST` and is linked from the release, so that equal inputs share it.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
from collections import deque
from typing import TYPE_CHECKING, Callable, Deque, Dict, List

from ..contract import names
from ..contract.failure import FAILED, REFUSED, Failure
from ..contract.layout import Layout
from . import commands, files
from .content import PREPARED
from .locks import Lock
from .masks import Masks

if TYPE_CHECKING:
    from ..contract.events import Emit
    from ..contract.release import PrepareDocument

_LINE = 8 << 10  # characters; a longer line is told in pieces
_TOLD = 1 << 20  # characters of its output that are told as they come; more is read, and the end of it kept
_LINE_COSTS = 64  # characters: what is sent around each line
_LAST = 12  # lines
_LOCK_SECONDS = 15.0  # an earlier step that was cut off ends within it
_BLOCK = 1 << 20


def prepare(
    layout: Layout,
    folder: str,
    step: PrepareDocument,
    secrets: Dict[str, str],
    emit: Emit,
    stop: Callable[[], None],
) -> str:
    """Run the step, or take what it made for the same inputs; the name of its result.

    Args:
        stop: called now and then; raises where the step is to be ended.

    Raises:
        Failure: it failed, or may not be run.
    """
    names.outputs(step["outputs"])
    key = _key(folder, step)
    # Its processes hold the lock as well, so that none of an earlier step can write into what this one makes.
    lock = Lock(os.path.join(layout.private, "prepare"))
    if not lock.take({"doing": "prepare"}, _LOCK_SECONDS):
        raise Failure(REFUSED, "an earlier prepare step is still being ended.", next_step="deploy up again")
    try:
        result = os.path.join(layout.prepared, key)
        ready = os.path.exists(os.path.join(result, PREPARED))
        if not ready:
            files.remove_tree(result)
            files.make_folder(result)
        for name in step["outputs"]:
            _link(folder, result, name)
        if ready and step["outputs"]:
            emit({"event": "step", "step": "prepare", "program": "", "detail": "as before"})
            return key
        _run(folder, step, secrets, emit, stop, lock)
        files.sync_filesystem(result)  # the name says that all of it is there, also after a power cut
        files.write(os.path.join(result, PREPARED), "")
        return key
    finally:
        lock.release()


def _key(folder: str, step: PrepareDocument) -> str:
    key = hashlib.sha256(json.dumps(step, sort_keys=True).encode("utf-8"))
    for name in step["inputs"]:
        path = os.path.realpath(names.path_below(folder, "input", name))
        if not path.startswith(os.path.realpath(folder) + "/") or not os.path.isfile(path):
            raise Failure(REFUSED, f"input {name!r} is no file of the release.")
        digest = hashlib.sha256()
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(_BLOCK), b""):
                digest.update(block)
        key.update(digest.digest())
    return key.hexdigest()


def _link(folder: str, result: str, name: str) -> None:
    link = names.path_below(folder, "output", name)
    if os.path.lexists(link) and not os.path.islink(link):
        raise Failure(
            REFUSED,
            f"output {name!r} is among the files that are shipped.",
            next_step="leave it out of the project, or out of prepare.outputs",
        )
    files.make_folder(os.path.join(result, name))
    files.make_folder(os.path.dirname(link))
    files.point(link, os.path.relpath(os.path.join(result, name), os.path.dirname(link)))


def _run(
    folder: str,
    step: PrepareDocument,
    secrets: Dict[str, str],
    emit: Emit,
    stop: Callable[[], None],
    lock: Lock,
) -> None:
    masks = Masks(secrets.items())
    emit({"event": "step", "step": "prepare", "program": "", "detail": masks.mask(" ".join(step["command"]))})
    told = Told(masks, lambda text: emit({"event": "output", "source": "prepare", "text": text}))
    try:
        ended = commands.run(
            step["command"],
            step["timeout"],
            cwd=folder,
            env={**os.environ, **step.get("env", {}), **secrets},
            tell=told,
            stop=stop,
            hold=[lock.fileno()],
        )
    except OSError as error:
        program = step["command"][0]
        gone = isinstance(error, FileNotFoundError)
        what = f"no program on the host is called {program}" if gone else str(error)
        how = f"install {program} there, or correct prepare.command" if gone else "correct prepare.command"
        raise Failure(FAILED, f"the prepare step can't start: {what}.", next_step=how) from None
    told.end()
    log = list(told.last)
    if ended.left:
        raise Failure(FAILED, f"{ended.left} processes of the prepare step could not be ended.", log=log)
    if ended.late:
        raise Failure(
            FAILED,
            f"the prepare step did not end in {step['timeout']:.0f} s, so it was ended, with all that it had started.",
            log=log,
        )
    if ended.status != 0:
        how = "mend prepare.command, or what it needs on the host; then deploy up"
        raise Failure(FAILED, f"the prepare step ended with status {ended.status}.", next_step=how, log=log)
    if ended.ended:
        emit({"event": "warning", "text": f"the prepare step left {ended.ended} processes behind; they were ended."})


class Told:
    """What a step says, line by line: without secrets, in lines of some length, and not for ever."""

    def __init__(self, masks: Masks, tell: Callable[[str], None]) -> None:
        self.last: Deque[str] = deque(maxlen=_LAST)
        self._tell = tell
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._masked = masks.stream()
        self._line = ""
        self._room = _TOLD
        self._untold = 0

    def __call__(self, block: bytes) -> None:
        self._take(self._masked.feed(self._decode(block)))

    def end(self) -> None:
        self._take(self._masked.feed(self._decode(b"", True)) + self._masked.end())
        if self._line:
            self._say(self._line)
        if self._untold:
            last = list(self.last)[-self._untold :]
            self._tell(f"… ({self._untold} lines in all are not shown; the last of them:)")
            for line in last:
                self._tell(line)

    def _take(self, text: str) -> None:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            for piece in _pieces(line) or [""]:
                self._say(piece)
        *pieces, self._line = _pieces(self._line) or [""]
        for piece in pieces:
            self._say(piece)

    def _say(self, line: str) -> None:
        line = line.rstrip()
        self.last.append(line)
        if self._room <= 0:
            self._untold += 1
            return
        self._room -= len(line) + _LINE_COSTS
        self._tell(line)


def _pieces(line: str) -> List[str]:
    return [line[at : at + _LINE] for at in range(0, len(line), _LINE)]
