"""Runs what may take minutes for a release that has no name yet, and tells what it says."""

from __future__ import annotations

import codecs
from collections import deque
from typing import TYPE_CHECKING, Callable, Deque, Dict, List, NamedTuple, Sequence

from ..contract.failure import FAILED, Failure
from . import commands
from .locks import Lock
from .masks import Masks

if TYPE_CHECKING:
    from ..contract.events import Emit

_LINE = 8 << 10  # characters; a longer line is told in pieces
_TOLD = 1 << 20  # characters of its output that are told as they come; more is read, and the end of it kept
_LINE_COSTS = 64  # characters: what is sent around each line
_LAST = 12  # lines


class Doing(NamedTuple):
    """What is run, for events and sentences."""

    source: str
    what: str
    seconds: float  # how long it may take
    detail: str = ""  # what is told of the command, where that is not all of it
    next_step: str = ""  # what to do where it fails


def run(
    doing: Doing,
    argv: Sequence[str],
    folder: str,
    env: Dict[str, str],
    secrets: Dict[str, str],
    emit: Emit,
    stop: Callable[[], None],
    lock: Lock,
) -> None:
    """Run it in `folder`, with all that it starts holding `lock`.

    Args:
        secrets: name -> value of what is never told.
        stop: called now and then; raises where it is to be ended.

    Raises:
        Failure: it did not end, or not well; has the last lines of what it said.
    """
    masks = Masks(secrets.items())
    emit({"event": "step", "step": doing.source, "program": "", "detail": doing.detail or masks.mask(" ".join(argv))})
    told = Told(masks, lambda text: emit({"event": "output", "source": doing.source, "text": text}))
    try:
        ended = commands.run(argv, doing.seconds, cwd=folder, env=env, tell=told, stop=stop, hold=[lock.fileno()])
    except OSError as error:
        raise Failure(FAILED, f"{doing.what} can't start: {error}") from None
    told.end()
    log = list(told.last)
    if ended.left:
        raise Failure(FAILED, f"{ended.left} processes of {doing.what} could not be ended.", log=log)
    if ended.late:
        raise Failure(
            FAILED,
            f"{doing.what} did not end in {doing.seconds:.0f} s, so it was ended, with all that it had started.",
            log=log,
        )
    if ended.status != 0:
        raise Failure(FAILED, f"{doing.what} ended with status {ended.status}.", next_step=doing.next_step, log=log)
    if ended.ended:
        emit({"event": "warning", "text": f"{doing.what} left {ended.ended} processes behind; they were ended."})


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
