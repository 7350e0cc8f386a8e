"""Lending what is here of a model to the other hosts of a transfer, and what comes of it, as it comes.

For the length of a conversation, over TLS with a key made for it, which is in memory alone, to who shows the secret of
the transfer. Nothing but that one model is ever sent. What is lent is looked for on the disk: whoever brings it here, a
fetch, other hosts or rsync, tells nothing. Of pieces that were fetched the sha256 of what came is told with them, so
that a disk which gives back something else is found out by the piece.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import socket
import ssl
import stat
import threading
import time
from typing import IO, TYPE_CHECKING, Any, Callable, Collection, Dict, List, Optional, Tuple, cast

from ..contract.failure import REFUSED, Failure
from . import pieces
from .pieces import piece_of
from .takeover import login
from .writing import BLOCK, SILENCE, Pace

if TYPE_CHECKING:
    from ..contract.answers import Lent
    from ..contract.layout import Layout
    from ..contract.lent import Ask, Have, Hello, Lender, LendModel, Piece

_GREETING = 5.0  # seconds for TLS, and for the first line
_LOOK = 0.1  # seconds between two looks at the disk
_ASK = 60.0  # a host that lends to us, too, asks more often
_MOST = 64  # hosts at once
_SENT_AT_ONCE = 3  # to so many hosts: each has a piece sooner, and lends it itself
_WAIT = 2.0  # seconds for which one who knows all that is here is kept waiting
_FORGOTTEN = 900.0  # seconds without a question, after which it ends: who led the transfer may be gone unheard
_ASKED = 4096  # bytes of a line of who asks
_ADDRESSES = 4
NO_WORD = (ValueError, KeyError, TypeError, ArithmeticError, RecursionError)  # of what means nothing


class Lending:
    """What one conversation lends.

    Attributes:
        me: this host, as others find it.
        count: the pieces of the model.
        coming: those that a fetch here has on their way from the source.
        met: told who asked, which may be asked in turn.
        known: who has asked.
    """

    def __init__(self, layout: Layout, request: LendModel) -> None:
        self._layout, self._request = layout, request
        self._piece = piece_of(request["bytes"])
        self.count = -(-request["bytes"] // self._piece)
        self._listener = _listen(request["port"])
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        _load(self._tls, request["certificate"] + request["key"])
        self.me: Lender = {
            "name": request["host"],
            "addresses": [*dict.fromkeys([*request["addresses"], *_own_addresses()])],
            "port": int(self._listener.getsockname()[1]),
            "mapped": request["mapped"],
            "certificate": fingerprint(ssl.PEM_cert_to_DER_cert(request["certificate"])),
        }
        self._seen: Dict[int, str] = {}  # pieces that are here, in the order in which they were seen
        self._arrived = 0
        self._mark: object = None  # of the disk, as it was looked at last
        self._news = threading.Condition()
        self._over = threading.Event()
        self._heard = time.monotonic()
        self._open: List[socket.socket] = []
        self._pace = Pace(request["limit"])
        self._sending = threading.BoundedSemaphore(_SENT_AT_ONCE)
        self.coming: Callable[[], Collection[int]] = list
        self.known: List[Lender] = []
        self.met: Callable[[Lender], None] = self.known.append
        for work in (self._accept, self._watch):
            threading.Thread(target=work, daemon=True).start()

    @property
    def secret(self) -> str:
        return self._request["secret"]

    def answer(self) -> Lent:
        return {"event": "result", "lender": self.me}

    def close(self) -> None:
        """Lend nothing any more."""
        self._over.set()
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)  # its thread goes on with it, and finds it ended
        self._listener.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                asking, _ = self._listener.accept()
            except OSError:
                return
            if len(self._open) >= _MOST:
                asking.close()
                continue
            self._open.append(asking)
            threading.Thread(target=self._serve, args=(asking,), daemon=True).start()

    def _serve(self, asking: socket.socket) -> None:
        talking = asking
        try:
            asking.settimeout(_GREETING)
            talking = talk = self._tls.wrap_socket(asking, server_side=True)  # which takes its descriptor
            self._open.append(talk)
            self._open.remove(asking)
            with talk, talk.makefile("rb") as stream:
                hello = cast("Hello", said(stream, _ASKED, _GREETING))
                if not hmac.compare_digest(str(hello["secret"]).encode(), self.secret.encode()):
                    return
                lender = _lender(hello["lender"])
                if len(self.known) < _MOST and lender not in self.known:
                    self.met(lender)
                talk.settimeout(_ASK)
                while not self._over.is_set():
                    ask = cast("Ask", said(stream, _ASKED, _ASK))
                    self._heard = time.monotonic()
                    if "piece" in ask:
                        self._send(talk, int(ask["piece"]))
                    else:
                        _say(talk, self._have(int(ask["have"])))
        except (OSError, *NO_WORD):
            pass  # it has gone, or is none of ours
        finally:
            self._open.remove(talking)
            talking.close()

    def _have(self, known: int) -> Have:
        """What is here, or comes; waits for a moment where that is known."""
        with self._news:
            if known >= len(self._seen):
                self._news.wait(_WAIT)
            told = [(index, digest) for index, digest in [*self._seen.items()][known:]]
            return {"pieces": told, "coming": list(self.coming()), "arrived": self._arrived}

    def _send(self, talk: ssl.SSLSocket, index: int) -> None:
        nothing: Piece = {"bytes": 0, "sha256": ""}
        if index not in self._seen or not self._sending.acquire(blocking=False):
            return _say(talk, nothing)
        try:
            talk.settimeout(SILENCE)
            begin = index * self._piece
            left = min(self._piece, self._request["bytes"] - begin)
            file = self._file()
            if file is None:
                return _say(talk, nothing)
            with os.fdopen(file, "rb", buffering=0) as stream:
                some: Piece = {"bytes": left, "sha256": self._seen[index]}
                _say(talk, some)
                stream.seek(begin)
                while left:
                    block = stream.read(min(BLOCK, left))
                    if not block:
                        raise OSError("it became shorter")
                    talk.sendall(block)
                    left -= len(block)
                    self._pace.took(len(block))
            return None
        finally:
            self._sending.release()
            talk.settimeout(_ASK)

    def _watch(self) -> None:
        while not self._over.wait(_LOOK):
            if time.monotonic() - self._heard > _FORGOTTEN:
                return self.close()
            mark, found, arrived = self._look()
            with self._news:
                is_news = any(index not in self._seen for index in found)
                self._seen.update(found)
                self._arrived, self._mark = arrived, mark
                if is_news:
                    self._news.notify_all()
        return None

    def _look(self) -> Tuple[object, Dict[int, str], int]:
        """What is on the disk, of what was not seen yet."""
        sha256, size = self._request["sha256"], self._request["bytes"]
        folder, unseen = self._layout.incoming_model(sha256), (i for i in range(self.count) if i not in self._seen)
        if os.path.isdir(self._layout.model(sha256)):
            return "whole", dict.fromkeys(unseen, ""), size
        try:
            file = os.lstat(os.path.join(folder, self._request["name"]))
        except OSError:
            return None, {}, 0
        arrived = file.st_blocks * 512  # it may have holes
        try:
            record = os.lstat(os.path.join(folder, pieces.RECORD)).st_size
        except OSError:  # rsync brings it, from its beginning to its end
            whole = file.st_size // self._piece if file.st_size < size else self.count
            return None, {index: "" for index in unseen if index < whole}, arrived
        return record, pieces.recorded(folder, size) if record != self._mark else {}, arrived

    def _file(self) -> Optional[int]:
        """The model, open; None where it is gone, or nothing that was brought here."""
        sha256 = self._request["sha256"]
        for folder, is_named in ((self._layout.model(sha256), True), (self._layout.incoming_model(sha256), False)):
            with contextlib.suppress(OSError):
                name = min(os.listdir(folder)) if is_named else self._request["name"]
                found = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                seen = os.fstat(found)
                own = seen.st_uid in (os.geteuid(), login()) and seen.st_nlink == 1
                if stat.S_ISREG(seen.st_mode) and (is_named or own):
                    return found
                os.close(found)
        return None


def _listen(port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise Failure(REFUSED, f"nothing can be lent at port {port}: {error.strerror}.") from None


def _load(context: ssl.SSLContext, pem: str) -> None:
    """A certificate with its key, which no file system ever has."""
    if not hasattr(os, "memfd_create"):
        raise Failure(REFUSED, "the kernel keeps no key in memory alone.")
    file = os.memfd_create("lend")
    try:
        os.write(file, pem.encode("ascii"))
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)


def fingerprint(certificate: bytes) -> str:
    """sha256 of a certificate as it travels."""
    import hashlib

    return hashlib.sha256(certificate).hexdigest()


def _own_addresses() -> List[str]:
    """Some that this host has, none of which leads to itself alone; first that at which it was logged in to."""
    found = os.environ.get("SSH_CONNECTION", "").split()[2:3]
    with contextlib.suppress(OSError):
        with open("/proc/net/fib_trie", encoding="ascii") as stream:
            lines = [line.split() for line in stream]
        for before, line in zip(lines, lines[1:]):
            if line[:3] == ["/32", "host", "LOCAL"] and not before[-1].startswith(("127.", "169.254.")):
                found.append(before[-1])
    return [*dict.fromkeys(found)][:_ADDRESSES]


def said(stream: IO[bytes], longest: int, seconds: float) -> Dict[str, Any]:
    """One line of who speaks, which is whole within that time, and what one silence may take.

    Raises:
        OSError: it ended, or drips.
        ValueError: it is none. RecursionError: likewise.
    """
    until, left = time.monotonic() + seconds, longest
    parts: List[bytes] = []
    while left > 0 and not (parts and parts[-1].endswith(b"\n")):
        here = len(stream.peek(1))  # type: ignore[attr-defined]
        if not here or time.monotonic() > until:
            raise OSError("it ended in the middle of a line" if parts else "it ended")
        parts.append(stream.readline(min(here, left)))
        left -= len(parts[-1])
    found = json.loads(b"".join(parts))
    if not isinstance(found, dict) or not parts[-1].endswith(b"\n"):
        raise ValueError("no line of ours")
    return found


def _lender(told: Any) -> Lender:
    """One who may be asked in turn, as it says of itself. Raises of `NO_WORD`."""
    texts = [told["name"], told["certificate"], *told["addresses"], *(address for address, _ in told["mapped"])]
    ports = [int(told["port"]), *(int(port) for _, port in told["mapped"])]
    if not all(isinstance(text, str) for text in texts) or not all(0 < port < 1 << 16 for port in ports):
        raise ValueError("no lender")
    return {
        "name": texts[0],
        "addresses": [*told["addresses"]],
        "port": ports[0],
        "mapped": [*told["mapped"]],
        "certificate": texts[1],
    }


def _say(talk: ssl.SSLSocket, what: object) -> None:
    talk.sendall(json.dumps(what).encode("ascii") + b"\n")
