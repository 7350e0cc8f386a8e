"""The hosts that lend pieces of a model to this one: what each has, and bringing it from there.

Whom to ask is known from who leads the transfer, and from who asks us. One whose certificate is another than was said
gets no word of ours. One that sends something else than it said is named, and not asked again.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import queue
import random
import socket
import ssl
import threading
import time
from typing import IO, TYPE_CHECKING, Callable, Dict, List, Set, Tuple, cast

from ..contract.lent import LONGEST_LINE
from .lend import NO_WORD, fingerprint, said
from .writing import SECONDS, SILENCE, Again

if TYPE_CHECKING:
    from ..contract.lent import Ask, Have, Hello, Lender, Piece
    from .lend import Lending

_REACHED = 3.0  # seconds until one has answered at any of its addresses
_TRIES = 3  # one after another
_AT_ONCE = 3  # pieces on their way from other hosts
_MOST = 64  # hosts
_ADDRESSES = 8  # of each
_DIGEST = 64  # letters


class Wrong(Exception):
    """Another host sent something else than it said."""


class Busy(Exception):
    """Another host has none to send now."""


class Known:
    """One of them: what is known of it."""

    def __init__(self, lender: Lender) -> None:
        self.lender = lender
        self.pieces: Dict[int, str] = {}  # those that it has
        self.coming: Set[int] = set()
        self.arrived = -1  # bytes there
        self.lent = 0  # pieces that came from it
        self.is_tried = False  # whether it was reached, or not
        self.is_there = False


class Lenders:
    """All of them.

    Attributes:
        reached: whether any was.
        heard: when any told of more than before, by `time.monotonic`.
        wrong: the names of those that sent something else than they said.
    """

    def __init__(self, lending: Lending, work: Callable[[Known, Talk], None]) -> None:
        self._lending, self._work = lending, work
        self._one = threading.Lock()
        self._known: Dict[str, Known] = {}
        self._over = threading.Event()
        self._talks: List[Talk] = []
        self.slots = threading.BoundedSemaphore(_AT_ONCE)
        self.reached = False
        self.heard = time.monotonic()
        self.wrong: List[str] = []

    def begin(self, told: List[Lender]) -> None:
        """Ask these, and who asked us: once the work can be done, as one of them may answer at once."""
        self._lending.met = self.meet
        for lender in [*told, *self._lending.known]:
            self.meet(lender)

    def meet(self, lender: Lender) -> None:
        """Ask one more, unless it is asked already."""
        if lender not in self._lending.known:
            self._lending.known.append(lender)
        with self._one:
            mark = lender["certificate"]
            if mark in self._known or mark == self._lending.me["certificate"] or len(self._known) >= _MOST:
                return
            known = self._known[mark] = Known(lender)
        threading.Thread(target=self._attend, args=(known,), daemon=True).start()

    @property
    def settled(self) -> bool:
        """Whether each was reached, or not."""
        return all(known.is_tried for known in self.everyone)

    @property
    def expected(self) -> int:
        """How many there are, or may be."""
        return sum(known.is_there or not known.is_tried for known in self.everyone)

    @property
    def there(self) -> List[Known]:
        return [known for known in self.everyone if known.is_there]

    def taken(self) -> Set[int]:
        """The pieces that one of them has, or fetches."""
        return {index for known in self.there for index in (*known.pieces, *known.coming)}

    def share(self) -> Callable[[int], bool]:
        """Which pieces this host is to fetch first, so that no two begin with the same."""
        own = self._lending.me["certificate"]
        marks = sorted([own, *(known.lender["certificate"] for known in self.there)])
        count, place = len(marks), marks.index(own)
        return lambda index: index % count == place

    def close(self) -> None:
        self._over.set()
        self._lending.met = self._lending.known.append
        for talk in [*self._talks]:
            talk.end()

    @property
    def everyone(self) -> List[Known]:
        with self._one:
            return [*self._known.values()]

    def _attend(self, known: Known) -> None:
        tries = 0
        while tries < _TRIES and not self._over.is_set():
            tries += 1
            try:
                talk = _reach(known.lender, self._lending)
                self._talks.append(talk)
                try:
                    known.is_there = known.is_tried = self.reached = True
                    before = known.lent
                    self._work(known, talk)
                finally:
                    known.is_there = False
                    tries = 0 if known.lent > before else tries
                    self._talks.remove(talk)
                    talk.close()
                if self._over.is_set():
                    return
            except NO_WORD:
                break  # whoever told of it told nothing that means something
            except Wrong:
                self.wrong.append(known.lender["name"])
                break
            except Again:
                pass
            known.is_tried = True
            self._over.wait(random.uniform(0.2, 1.0))  # noqa: S311  no secret
        known.is_tried = True


class Talk:
    """What is said with one of them.

    Raises:
        Again: of each word: the line is cut, or it says nothing that means something.
    """

    def __init__(self, line: ssl.SSLSocket, lending: Lending) -> None:
        self._line = line
        self._stream: IO[bytes] = line.makefile("rb")
        self._count = lending.count
        line.settimeout(SILENCE)
        hello: Hello = {"secret": lending.secret, "lender": lending.me}
        self._say(hello)

    def look(self, known: Known) -> bool:
        """Learn what it has now; whether that is more than before."""
        have = cast("Have", self._ask({"have": len(known.pieces)}))
        try:
            told = {self._index(index): str(digest)[:_DIGEST] for index, digest in have["pieces"]}
            known.coming = {self._index(index) for index in have["coming"]}
            arrived = int(have["arrived"])
        except NO_WORD:
            raise Again("it says something else") from None
        known.pieces.update(told)
        more, known.arrived = arrived > known.arrived, arrived
        return more

    def piece(self, index: int, length: int) -> Tuple[Callable[[int], bytes], str]:
        """Begin with a piece; what reads its bytes, and its sha256 as it came there, where that is known.

        Raises:
            Busy: it has none to send now.
        """
        some = cast("Piece", self._ask({"piece": index}))
        if some.get("bytes") == 0:
            raise Busy("it is sending to others")
        if some.get("bytes") != length:
            raise Again("it has another length there")
        return self._read, str(some.get("sha256", ""))

    def end(self) -> None:
        """Let who is waiting for a word of it wait no more."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._line, socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.close()
        self._line.close()

    def _read(self, size: int) -> bytes:
        return self._stream.read1(size)  # type: ignore[attr-defined,no-any-return]

    def _ask(self, ask: Ask) -> Dict[str, object]:
        self._say(ask)
        try:
            return said(self._stream, LONGEST_LINE, SECONDS)
        except (OSError, *NO_WORD) as error:
            raise Again(str(error)) from None

    def _index(self, told: int) -> int:
        """The number of a piece; what there is not takes no memory."""
        if not 0 <= int(told) < self._count:
            raise ValueError(told)
        return int(told)

    def _say(self, what: object) -> None:
        try:
            self._line.sendall(json.dumps(what).encode("ascii") + b"\n")
        except OSError as error:
            raise Again(str(error)) from None


def _reach(lender: Lender, lending: Lending) -> Talk:
    """A line to it at whichever of its addresses answers first, as the one that it is said to be.

    Raises:
        Again: at none.
    """
    found: queue.SimpleQueue[ssl.SSLSocket] = queue.SimpleQueue()
    over = threading.Event()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # it has no name, and no clock counts: it is this certificate, or it is another host
    context.verify_mode = ssl.CERT_NONE

    def knock(address: str, port: int) -> None:
        line = None
        try:
            line = socket.create_connection((str(ipaddress.ip_address(address)), port), _REACHED)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            talk = context.wrap_socket(line)
            if fingerprint(talk.getpeercert(binary_form=True) or b"") == lender["certificate"] and not over.is_set():
                found.put(talk)
            else:
                talk.close()
        except (OSError, ValueError):
            if line is not None:
                line.close()

    own = [(address, lender["port"]) for address in lender["addresses"]]
    for place in [*lender["mapped"], *own][:_ADDRESSES]:
        threading.Thread(target=knock, args=(*place,), daemon=True).start()
    try:
        first = found.get(timeout=_REACHED)
    except queue.Empty:
        raise Again("it is not reached") from None
    finally:
        over.set()
    with contextlib.suppress(queue.Empty):
        while True:
            found.get_nowait().close()
    return Talk(first, lending)


def is_full(error: BaseException) -> bool:
    """Whether the disk is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
