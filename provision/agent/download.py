"""A file by its pieces, several at a time, from where it is and from other hosts that lend what they have of it.

Alone, a host fetches all of it. Of several each fetches a share first, and has the rest from the others; so the source
sends each piece once. Whoever has nothing to do takes what nobody has or fetches; and where nothing moves at all, what
somebody else is at. So no host waits for another that is slow, or has gone.
"""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from typing import TYPE_CHECKING, Callable, Collection, Dict, List, Mapping, Optional

from ..contract.failure import FAILED, Failure
from .pieces import PIECE, Pieces
from .source import Elsewhere, Source
from .wanted import Wanted
from .writing import SECONDS, Again, Writing

if TYPE_CHECKING:
    from ..contract.bringing import FetchModel
    from ..contract.events import Emit
    from .lend import Lending
    from .lenders import Known, Lenders, Talk

_AT_ONCE = 4  # from the source, by all hosts that know each other, or one each
_HANDED_OUT = 2  # of them, where each host has its turn: who has one is sent to while the other is written down
_SLOWEST = 50_000  # bytes a second
_IN_TURN = 3_000  # the same, where others have theirs first; a few bytes are sent meanwhile
_FAILURES = 12  # of each that asks, one after another, without a piece that came
_LONGEST_WAIT = 30.0
_UNHEARD = 2 * (SECONDS + PIECE / _SLOWEST)  # without a piece or a failure: headers drip, where no limit holds
_PATIENCE = 60.0  # with other hosts of which nothing comes, and that have nothing new, where the source gives nothing
_IDLE = 3.0  # seconds without a byte, after which this host fetches what is others' share
_STUCK = 10.0  # and after which it fetches what others are at
_TELL = 0.5  # seconds between two lines of progress
_ENDING = 1.0  # until those that read have noticed that they are to stop; none of them writes any more


class Download:
    """One model on its way into a folder.

    Attributes:
        lent: who sent a piece, of those that other hosts sent.
    """

    def __init__(
        self,
        request: FetchModel,
        folder: str,
        emit: Emit,
        stop: Callable[[], None],
        known: Optional[Mapping[int, str]] = None,
        lending: Optional[Lending] = None,
    ) -> None:
        self.request = request
        self.path = os.path.join(folder, request["name"])
        self.pieces = Pieces(folder, request["bytes"], known)
        self.lent: Dict[int, str] = {}
        self._emit, self._stop, self._lending = emit, stop, lending
        self._source = Source(request)
        self._elsewhere: Dict[int, int] = {}  # piece that the source sent to another host -> how many then lent
        self._changed = False  # whether a piece came as another than it did before
        self._news: queue.Queue[Optional[BaseException]] = queue.Queue()  # of each piece: it came, or why not
        self._refused: Optional[Failure] = None  # what the source says, which has nothing for us any more
        self._lenders: Optional[Lenders] = None
        if not request["url"]:
            self._refused = Failure(FAILED, f"no other host lends model {request['name']} any more.")

    def run(self, wanted: Collection[int]) -> bool:
        """Bring these pieces; raises as `fetch` does.

        Returns:
            Whether one came as another than before.
        """
        self._wanted, self._began = Wanted(wanted), time.monotonic()
        arrived = sum(self.pieces.length(index) for index in set(self.pieces.done) - set(wanted))
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        limit = self.request["limit"]
        slowest = _IN_TURN if self._source.is_handed_out else min(_SLOWEST, limit / (2 * _AT_ONCE) or _SLOWEST)
        self._unheard = _UNHEARD * _SLOWEST / slowest
        self._writing = Writing(descriptor, limit, slowest, arrived)
        at_once = _HANDED_OUT if self._source.is_handed_out else _AT_ONCE
        threads = [
            threading.Thread(target=self._fetch, args=(number,), daemon=True)
            for number in range(min(at_once, len(wanted)) if self.request["url"] else 0)
        ]
        try:
            if self._lending is not None and wanted:
                from .lenders import Lenders  # of several hosts alone

                self._lending.coming = lambda: self._wanted.coming
                self._lenders = Lenders(self._lending, self._borrow)
                self._lenders.begin(self.request.get("lenders", []))
            for thread in threads:
                thread.start()
            self._wait(len(wanted))
            self._say_alone()
        finally:
            self._writing.over.set()
            if self._lenders is not None:
                self._lenders.close()
            until = time.monotonic() + _ENDING
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))
            if not any(thread.is_alive() for thread in threads) and self._lenders is None:
                os.close(descriptor)  # else both go with this process
                self.pieces.close()
        return self._changed

    def _say_alone(self) -> None:
        """Where other hosts are there, and none of them was reached, all of it came from one place."""
        lenders = self._lenders
        if lenders is not None and lenders.everyone and lenders.settled and not lenders.reached:
            names = ", ".join(sorted(known.lender["name"] for known in lenders.everyone))
            text = f"{names} can't be reached from there; so nobody lent it any of {self.request['name']}."
            self._emit({"event": "warning", "text": text})

    def doubted(self) -> List[int]:
        """Pieces of which another host says that they came otherwise there."""
        others = self._lenders.everyone if self._lenders is not None else []
        return [
            index
            for index, digest in self.pieces.done.items()
            if any(known.pieces.get(index) not in (None, "", digest) for known in others)
        ]

    def _wait(self, left: int) -> None:
        failures, told, heard = 0, 0.0, time.monotonic()
        most = _FAILURES * min(_AT_ONCE, left)
        while left:
            self._stop()
            wrong: Optional[BaseException] = None
            try:
                wrong = self._news.get(timeout=0.2)
            except queue.Empty:
                if time.monotonic() - heard > self._unheard:
                    wrong, failures = Again("nothing whole came for a long time"), most
            else:
                heard = time.monotonic()
                if wrong is None:
                    left, failures = left - 1, 0
                elif isinstance(wrong, Again):
                    failures += 1
                elif isinstance(wrong, Failure):
                    self._refused = wrong
                else:
                    raise wrong
            if failures >= most and self._refused is None:
                self._refused = Failure(
                    FAILED,
                    f"model {self.request['name']} can't be fetched from {self._source.host}: {wrong}.",
                    why="What has arrived of it is kept: the next run goes on from there.",
                    next_step='deploy up again; for a host that can not reach it: models.NAME.fetch = "ship"',
                )
            # Who helps no longer may have brought all that there was, which is not counted yet.
            if left and self._refused is not None and not self._others_help() and self._news.empty():
                reached = self._lenders is not None and self._lenders.reached
                self._refused.details["facts"] = {"reached": reached}
                raise self._refused
            if time.monotonic() - told > _TELL or not left:
                told = time.monotonic()
                self._emit(
                    {
                        "event": "progress",
                        "phase": "fetch",
                        "file": self.request["name"],
                        "done": self._writing.arrived,
                        "total": self.request["bytes"],
                    }
                )

    def _others_help(self) -> bool:
        lenders = self._lenders
        if lenders is None:
            return False
        heard = max(lenders.heard, self._writing.moved)
        return not lenders.settled or bool(lenders.there and time.monotonic() - heard < _PATIENCE)

    def _fetch(self, number: int) -> None:
        """Bring pieces from the source; one of several that do."""
        tries = 0
        while not self._writing.over.is_set() and self._refused is None:
            index = self._next(number)
            if index is None:
                if self._wanted.is_over:
                    return
                self._writing.over.wait(0.1)
                continue
            try:
                digest = self._source.piece(index * self.pieces.size, self.pieces.length(index), self._writing)
                self._came(index, digest)
                tries = 0
            except Elsewhere:
                self._elsewhere[index] = len(self._lenders.there) if self._lenders else 0
                self._wanted.put_back(index)
            except Again as again:
                self._wanted.put_back(index)
                self._news.put(again)
                tries += 1
                self._writing.over.wait(min(max(again.wait, 0.2 * 2**tries), _LONGEST_WAIT))
            except BaseException as error:
                self._wanted.put_back(index)
                self._news.put(error)
                return

    def _next(self, number: int) -> Optional[int]:
        """What is to be asked for at the source; None: nothing now."""
        lenders = self._lenders
        others = lenders.expected if lenders is not None else 0
        if lenders is None or not others:
            return self._wanted.fetch()
        if number >= max(1, _AT_ONCE // (1 + others)) or not lenders.settled:
            return None
        mine, taken = lenders.share(), lenders.taken()
        there = len(lenders.there)
        lent = taken | {index for index, then in [*self._elsewhere.items()] if then <= there}  # else one is gone
        found = self._wanted.fetch_last(lambda index: mine(index) and index not in lent)
        if found is None and self._wanted.is_idle:
            still = time.monotonic() - max(self._writing.moved, self._began)
            if still > _IDLE:
                found = self._wanted.fetch_last(lambda index: index not in taken)
            if found is None and still > _STUCK:
                found = self._wanted.fetch_last(lambda _: True)
        return found

    def _borrow(self, known: Known, talk: Talk) -> None:
        """Bring pieces from another host, while it has some that are wanted."""
        from .lenders import Busy, Wrong, is_full

        lenders, wanted = self._lenders, self._wanted
        assert lenders is not None  # noqa: S101  it calls this
        while not self._writing.over.is_set() and not wanted.is_over:
            with lenders.slots:
                index = wanted.borrow(known.pieces, self._rarest)
                if index is not None:
                    try:
                        digest = self._lent(known, talk, index)
                    except Busy:
                        wanted.put_back(index)
                    except OSError as error:
                        wanted.put_back(index)
                        if is_full(error):
                            self._news.put(error)
                        raise Again(str(error)) from None
                    except (Again, Wrong):
                        wanted.put_back(index)
                        raise
                    else:
                        self.lent[index] = known.lender["name"]
                        known.lent += 1
                        self._came(index, digest)
                        continue
            if index is not None:
                self._writing.over.wait(random.uniform(0.1, 0.4))  # noqa: S311  no secret: until it has time for us
            elif talk.look(known):
                lenders.heard = time.monotonic()

    def _lent(self, known: Known, talk: Talk, index: int) -> str:
        from .lenders import Wrong

        length = self.pieces.length(index)
        read, said = talk.piece(index, length)
        digest = self._writing.piece(index * self.pieces.size, length, read)
        if said and digest != said:
            self._writing.forget(length)
            who, name = known.lender["name"], self.request["name"]
            text = f"{who} sent piece {index} of {name} otherwise than it said; it is not asked any more."
            self._emit({"event": "warning", "text": text})
            raise Wrong
        return digest

    def _rarest(self, pieces: List[int]) -> int:
        """Of some, one that few hosts have: who has that soon is asked for it by the others."""
        some = random.sample(pieces, min(len(pieces), 8))
        there = self._lenders.there if self._lenders is not None else []
        return min(some, key=lambda index: sum(index in known.pieces for known in there))

    def _came(self, index: int, digest: str) -> None:
        if self.pieces.add(index, digest):
            self._changed = True
        self._wanted.came(index)
        self._news.put(None)
