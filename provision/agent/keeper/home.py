"""The keeper's life: it listens to the front's log, looks at the state, and has steps taken."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import Dict, List, Optional, Protocol, Sequence, Tuple

from ...contract.failure import Failure
from ...contract.layout import KEEP, STEP, Layout
from ...contract.state import State
from .. import state as states
from .. import stepped
from ..analysis import PACE_SECONDS, Move, Tokens
from ..front.listening import Log
from ..journal import Journal
from .door import Door, Told
from .due import Certificates
from .judging import Judging, told
from .kinds import is_keepers
from .rings import Rings

_CERTIFICATES_SECONDS = 60.0  # between two looks at what is due
_TICK = 0.5  # seconds between two looks at the state
_FLUSH_SECONDS = 5.0  # what a kill may cost of what was counted
_LEAST_LOOK, _MOST_LOOK = 0.5, 15.0  # seconds between two judgements
_LOOKS = 20  # of a step at least
_AGAIN, _LATEST_AGAIN = 5.0, 120.0  # seconds until a step is tried again that was not taken
_LEFT_SECONDS = 3.0  # how long a transaction of ours may lie open before it is ended


class Heard(Protocol):
    """What something comes from."""

    def fileno(self) -> int: ...


class Keeper:
    """Of one project. What it knows is in files: another one goes on where it ends."""

    def __init__(self, layout: Layout, agent: str) -> None:
        self.layout = layout
        self.agent = agent
        self.over = False
        self.rings = Rings(layout.rings)
        self.judging = Judging(layout)
        self.engines = Engines(layout)
        self.certificates = Certificates(layout, agent)
        self._state = State()
        self._seen_state: Tuple[int, ...] = ()
        self._script: Tuple[int, ...] = ()
        self._again = 0.0  # when a step may be tried
        self._waits = _AGAIN
        self._open_since = 0.0
        self._due: Dict[str, float] = {}
        self._has_engines = False  # as far as is known

    def serve(self) -> None:
        """Until it is told to end."""
        self._look()
        with Log(self.layout.traffic) as log:
            door = Door(self.layout, self._tell)
            try:
                while not self.over:
                    wanted: List[Heard] = [log, door, *self.engines.waiting]
                    ready, _, _ = select.select(wanted, [], [], _TICK)
                    if log in ready:
                        for served in log.served(0.0):
                            self.rings.count(served)
                            self.judging.count(served)
                    if door in ready:
                        door.open()
                    self._tokens(ready)
                    if self._is_due("look", _TICK):
                        self._look()
                        self._end_what_is_open()
                    if self._is_due("certificates", _CERTIFICATES_SECONDS):
                        self.certificates.look()
                    self._judge()
                    if self._is_due("flush", _FLUSH_SECONDS):
                        self._flush()
            finally:
                door.close()
                self._flush()

    def _is_due(self, what: str, seconds: float) -> bool:
        now = time.monotonic()
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + seconds
        return True

    def _flush(self) -> None:
        self.rings.flush(time.time())
        self.judging.flush()

    def _tell(self) -> Told:
        self._flush()
        answer: Told = {"says": self.judging.says(), "findings": told(self.judging.last)}
        if self.judging.seconds is not None:
            answer["seconds"] = self.judging.seconds
        return answer

    def _look(self) -> None:
        """Go by the state as it is now, and be who is to be at home."""
        script = _mark(os.path.join(self.layout.traffic, KEEP))
        if script != self._script:
            self._script = script
            self._give_place()
        mark = _mark(self.layout.state) + _mark(stepped.path(self.layout))
        if mark != self._seen_state:
            self._seen_state = mark
            try:
                self._state = states.read_state(self.layout)
            except (Failure, OSError, ValueError) as error:  # of a later version, whose keeper comes any moment
                _say(f"the state is not read: {error}")
                self._state = State()
            self._due.pop("certificates", None)  # of a release that is new
            self.judging.become(self._state.rollout)
            self._has_engines = bool(self._state.programs)
            self._again, self._waits = 0.0, _AGAIN

    def _give_place(self) -> None:
        """Become the keeper of another agent, where the script says so."""
        path = os.path.join(self.layout.traffic, KEEP)
        try:
            with open(path, encoding="utf-8") as stream:
                is_other = f"/{self.agent}/" not in stream.read()
        except OSError:
            return  # traffic goes away, and we with it
        if is_other:
            self._flush()
            os.execv(path, [path])  # noqa: S606  a script of ours, in a folder that nobody else may enter

    def _tokens(self, ready: Sequence[Heard]) -> None:
        """What engines made since they were asked last."""
        if self.engines in ready:
            counters = self.engines.told()
            if counters is None:
                return  # nobody could be asked; that says nothing of whether there are engines
            for service, lanes in counters.items():
                for lane, (made, seconds) in lanes.items():
                    before = self.engines.before.get(service, {}).get(lane, Tokens(made, seconds))
                    self.rings.add_tokens(time.time(), service, lane, made - before.made, seconds - before.seconds)
            self.engines.before = counters
            self.judging.compare(counters)
            self._has_engines = bool(counters)
        if self._has_engines and self._is_due("tokens", PACE_SECONDS):
            self.engines.ask()

    def _judge(self) -> None:
        record = self._state.rollout
        if record is None or not self.judging.is_on:
            return
        if not self._is_due("judge", min(max(record["document"]["each"] / _LOOKS, _LEAST_LOOK), _MOST_LOOK)):
            return
        decision = self.judging.judge()
        if decision is not None and decision.move is not Move.WAIT and time.monotonic() >= self._again:
            self._flush()
            self.judging.propose(decision)
            _say(f"{decision.move.value}: {decision.why}")
            self._take_step()

    def _take_step(self) -> None:
        """Have it taken, by nobody who ends with us."""
        self._again = time.monotonic() + self._waits
        self._waits = min(2 * self._waits, _LATEST_AGAIN)
        script = os.path.join(self.layout.traffic, STEP)
        middle = os.fork()
        if middle == 0:
            try:
                os.setsid()
                if os.fork() == 0:
                    os.execve(script, [script], {})  # noqa: S606
            finally:
                os._exit(1)
        os.waitpid(middle, 0)

    def _end_what_is_open(self) -> None:
        """A transaction of ours whose worker was killed: who takes the next step ends it."""
        if not os.path.exists(self.layout.journal):
            self._open_since = 0.0
            return
        now = time.monotonic()
        self._open_since = self._open_since or now
        if now - self._open_since < _LEFT_SECONDS or now < self._again:
            return
        open_ = Journal(self.layout.journal).left_open()
        if open_ and is_keepers(open_.begin):
            self._take_step()


class Engines:
    """Those that are asked how many tokens they made."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._child = 0
        self._pipe = -1
        self.before: Dict[str, Dict[str, Tokens]] = {}

    @property
    def waiting(self) -> List[Engines]:
        """Itself, while an answer is to come."""
        return [self] if self._child else []

    def fileno(self) -> int:
        return self._pipe

    def ask(self) -> None:
        """Begin to, unless that is under way."""
        if self._child:
            return
        self._pipe, to = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                from .tokens import tell

                tell(self._layout, to)
            finally:
                os._exit(1)
        os.close(to)

    def told(self) -> Optional[Dict[str, Dict[str, Tokens]]]:
        """The answer, that there is one by now: service -> lane -> counters; None where it is none."""
        said = os.read(self._pipe, 1 << 16)  # a pipe holds as much, and it is written at once
        os.close(self._pipe)
        os.waitpid(self._child, 0)
        self._child = 0
        try:
            counters = json.loads(said)
        except ValueError:
            return None
        return {name: {lane: Tokens(*each) for lane, each in lanes.items()} for name, lanes in counters.items()}


def _mark(path: str) -> Tuple[int, ...]:
    """What is other once a file was replaced."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _say(text: str) -> None:
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), text, flush=True)  # noqa: T201  its log


def main(layout: Layout, agent: str) -> int:
    """Be at home until a signal says to end."""
    keeper: Optional[Keeper] = None

    def end(*_: object) -> None:
        if keeper is None:
            sys.exit(0)
        keeper.over = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    os.chdir(layout.traffic)  # the release that it was started from may go
    keeper = Keeper(layout, agent)
    keeper.serve()
    return 0
