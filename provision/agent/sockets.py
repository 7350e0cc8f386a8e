"""Whose socket it is that we talk to, as the kernel tells (proc(5), "/proc/net/tcp").

A port says nothing of who listens there. A service that ended leaves it to whoever comes next, and one that listens on
one address leaves the others to anybody. So a secret goes over a connection only once the other end of that very
connection is a socket which a process of the service holds.

Launchers hold this file as it is, before `attend`. So it stands alone.
"""

import contextlib
import http.client
import os
import socket
import struct
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

LISTEN = "0A"  # TCP_LISTEN, in the column `st`
_MARK = b"\r\nAuthorization: "
_UNSENT = "its token was not sent"
_GRACE = 0.5  # seconds: who sends and waits says better than we what is missing
_POLL, _LONGEST_POLL = 0.01, 0.2  # each look reads all sockets of the machine
_SIGHTINGS = 5  # of a socket that no process seems to hold: it may be on its way from one to another
_MAPPED = bytes(10) + b"\xff\xff"  # before an IPv4 address in IPv6 (RFC 4291, 2.5.5.2)


class Withheld(Exception):
    """A secret was not sent, because a stranger has the connection; the message says so.

    Args:
        named: whether the stranger was seen. Else it may be the program itself, where we may not look into it.
    """

    def __init__(self, why: str, named: bool) -> None:
        super().__init__(why)
        self.named = named


class NotTaken(socket.timeout):
    """A secret was not sent, because nobody took the connection in time; the message says so."""


class Bearer:
    """A secret that is sent as a bearer token (RFC 6750), and who may see it.

    Args:
        program: for a person.
        members: the processes of the program, as they are now.
    """

    def __init__(self, value: str, program: str, members: Callable[[], Set[int]]) -> None:
        self.value = value
        self.program = program
        self.members = members


class Bounded(http.client.HTTPResponse):
    """An answer of which no more is read than was asked for."""

    def _safe_read(self, amt: int) -> bytes:
        if amt < 0:  # all that comes, to http.client: the size of a chunk is what the other side says
            raise http.client.HTTPException("a chunk of a negative size")
        return super()._safe_read(amt)  # type: ignore[misc,no-any-return]


@contextlib.contextmanager
def cut_after(connection: socket.socket, seconds: float) -> Iterator[None]:
    """What is read and written over `connection` meanwhile is over when its time is.

    A socket's own time-out begins anew with each byte that comes.

    Raises:
        socket.timeout: it was.
    """
    late = threading.Event()

    def cut() -> None:
        late.set()
        with contextlib.suppress(OSError):  # it is over already
            # Of what is below TLS: that has a state of its own, and another thread is in it.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, seconds), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if not late.is_set() or isinstance(error, (Withheld, NotTaken)):  # these say more
            raise
    finally:
        timer.cancel()
    if late.is_set():
        raise socket.timeout("timed out")


class Guarded(http.client.HTTPConnection):
    """A connection that gives its secret to nobody but the program that it is of.

    The rest of the head goes ahead: some servers take a connection only once something has come over it
    (TCP_DEFER_ACCEPT), and before one is taken nobody can say who takes it.
    """

    response_class = Bounded

    def __init__(self, host: str, port: Optional[int], timeout: float, bearer: Optional[Bearer]) -> None:
        super().__init__(host, port, timeout=timeout)
        self._seconds = timeout
        self._bearer = bearer

    def ask(
        self,
        method: str,
        path: str,
        largest: int,
        body: Optional[bytes] = None,
        headers: Optional[Dict[str, str]] = None,
    ) -> Tuple[http.client.HTTPResponse, bytes]:
        """The answer to a request with the secret, where there is one, and the first `largest` bytes of its body.

        All of it is over when the connection's time is.

        Raises:
            Withheld, NotTaken: the secret was not sent.
            ValueError: no header can hold it.
            OSError, http.client.HTTPException: there is no answer. Where its time was over: socket.timeout.
        """
        secret = {"Authorization": "Bearer " + self._bearer.value} if self._bearer else {}
        until = time.monotonic() + self._seconds + _GRACE
        self.connect()
        with cut_after(self.sock, until - time.monotonic()):
            self.request(method, path, body, {**(headers or {}), **secret})
            answer = self.getresponse()
            content = answer.read(largest)
        return answer, content

    def send(self, data: Any) -> None:
        head, mark, secret = data.partition(_MARK) if self._bearer else (data, b"", b"")
        if not self._bearer or not mark:
            super().send(data)
            return
        if self.sock is None:
            self.connect()
        only_to(self.sock, self._bearer, self._seconds, lambda: super(Guarded, self).send(head))
        super().send(mark + secret)


def only_to(connection: socket.socket, bearer: Bearer, seconds: float, greet: Callable[[], None]) -> None:
    """Wait until a process of the program has taken `connection`.

    What goes to another machine is not judged: who declared its address wants it there.

    Args:
        greet: sends what is no secret; called once, where nothing speaks against it.

    Raises:
        Withheld: somebody else has it.
        NotTaken: nobody took it in time.
    """
    port, until = connection.getpeername()[1], time.monotonic() + seconds
    greeted, strangers, pause = False, 0, _POLL
    while True:
        taken, inodes = _other_end(connection) if _is_here(connection) else (True, set())
        held = not inodes or any(inodes & inodes_of(pid) for pid in bearer.members())
        if not held:
            strangers += 1
            holder = _holder(inodes, bearer)
            if holder or strangers == _SIGHTINGS:
                who = holder or "a process of another user"
                what = f"port {port} of {bearer.program} is held by {who}, not by {bearer.program}: {_UNSENT}"
                raise Withheld(what, named=bool(holder))
        elif not greeted:
            greet()
            greeted = True
        if taken and held:
            return
        if time.monotonic() > until:
            raise NotTaken(f"{bearer.program} took no connection on port {port} in {seconds:.0f} s: {_UNSENT}")
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_POLL)


def _other_end(connection: socket.socket) -> Tuple[bool, Set[int]]:
    """Whether a process has taken the connection, and the sockets that tell whose it is or may become.

    What waits to be taken has no inode yet; then those count that listen on its port.
    """
    theirs, ours = _plain(connection.getpeername()), _plain(connection.getsockname())
    sockets = list(_sockets(theirs[1]))
    taken = {each.inode for each in sockets if each.ours == theirs and each.theirs == ours and each.inode}
    return bool(taken), taken or {each.inode for each in sockets if each.state == LISTEN}


def inodes_of(pid: int) -> Set[int]:
    """Inodes of the sockets that a process has open; empty where we may not look."""
    inodes = set()
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(entry.path)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(int(target[8:-1]))
    except OSError:
        pass
    return inodes


def name(pid: int) -> str:
    """A process for a person: how it was called."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            said = stream.read(200).replace(b"\0", b" ").decode("utf-8", "replace")
            # It names itself as it likes, and this goes into sentences.
            return "".join(char if char.isprintable() else " " for char in said).strip() or "a kernel thread"
    except OSError:
        return "a process that ended"


def _holder(inodes: Set[int], bearer: Bearer) -> str:
    """The stranger that has one of these sockets, for a person; empty where none is seen."""
    for pid in [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]:
        # Asked again: the program may have started a process since.
        if inodes & inodes_of(pid) and pid not in bearer.members():
            return f"pid {pid} ({name(pid)})"
    return ""


def _is_here(connection: socket.socket) -> bool:
    """Whether the other end has an address of this machine: only such a one can be bound."""
    address = connection.getpeername()
    with socket.socket(connection.family, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind((address[0], 0, *address[2:]))
        except OSError:
            return False
    return True


_Address = Tuple[bytes, int]


class _Socket(NamedTuple):
    ours: _Address
    theirs: _Address
    state: str
    inode: int  # 0 while no process has taken it


def _sockets(port: int) -> Iterator[_Socket]:
    """Those whose own port it is."""
    column = f":{port:04X}"
    for fields in rows(column):
        if fields[1].endswith(column):
            yield _Socket(_address(fields[1]), _address(fields[2]), fields[3], int(fields[9]))


def rows(having: str = "") -> Iterator[List[str]]:
    """The columns of each line with `having` in it, of IPv4 and IPv6."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as stream:
                lines = stream.read().splitlines()[1:]
        except OSError:
            continue
        yield from (line.split() for line in lines if having in line)


def _address(text: str) -> _Address:
    """`0100007F:0BB8`: words in this machine's order of bytes, and a port."""
    digits, _, port = text.partition(":")
    words = (int(digits[at : at + 8], 16) for at in range(0, len(digits), 8))
    return _unmapped(b"".join(struct.pack("=I", word) for word in words)), int(port, 16)


def _plain(address: Any) -> _Address:
    """What a socket says of its own end."""
    host = address[0].partition("%")[0]
    packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    return _unmapped(packed), int(address[1])


def _unmapped(address: bytes) -> bytes:
    return address[12:] if address.startswith(_MAPPED) and len(address) == 16 else address
