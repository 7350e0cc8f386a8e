"""A line of HAProxy's log a request: what is in it, and how it is read.

Nothing that a client wrote is in it: no path, no address, no header. So it needs no escape, and holds no secret. Lines
go from a ring in HAProxy to whoever listens in the front's folder, over a stream: a datagram socket holds ten on Linux,
and loses the rest. While nobody listens the ring keeps the first of them, and nobody's request waits. What ends in a
process from before a reload is not told: its ring is closed by then.

A ring that finds nobody at a unix socket tries again without a pause, and takes a third of a core for that. So it finds
HAProxy itself, which waits between two tries as it does with requests that are held: at a port that nobody listens at.
It holds the first lines for that long; a process from before a reload stays as long, if nobody listens.
"""

from __future__ import annotations

from typing import Iterator, NamedTuple, Optional

from ...contract.slots import STABLE
from . import words

SOCKET = "log.sock"
RING = "requests"
_PATIENT = "unix@ring.sock"
_DAY = 86_400.0  # seconds, where nothing is asked
LONGEST = 512  # bytes of a line
_MARK = "r1"  # the form of what follows; lines of other versions are passed over
# When, where, with what result; milliseconds to receive, to queue, to connect, to begin the answer, in all; bytes,
# tries, how it ended (8.2.3 and 8.5 of the configuration manual).
FORMAT = _MARK + " %Ts.%ms %b %s %[var(txn.lane)] %ST %TR %Tw %Tc %Tr %Ta %B %rc %tsc"
FORMAT_TCP = _MARK + " %Ts.%ms %b %s %[var(txn.lane)] 0 0 %Tw %Tc -1 %Tt %B %rc %ts"
_COUNT = len(FORMAT.split())
_BROKEN = "SsRI"  # by the program, by its silence, for want of something, by HAProxy itself
_NOBODY = "<NOSRV>"
_SERVER_ERROR = 500


def sections(user: str, nobody: str) -> Iterator[str]:
    """The ring, and what passes its lines on once somebody listens.

    Args:
        nobody: where nobody listens.
    """
    yield f"ring {RING}"
    yield "  format raw"
    yield f"  maxlen {LONGEST}"
    yield "  size 1048576"
    yield "  timeout connect 1s"
    yield "  timeout server 10s"
    yield f"  server patient {_PATIENT}"
    yield ""
    yield "listen patient:"  # services have no colon in their names
    yield "  mode tcp"
    yield "  no log"
    yield f"  bind {_PATIENT} mode 600" + (f" user {words.name('user', user)}" if user else "")
    yield f"  timeout client {words.milliseconds(_DAY)}"
    yield f"  timeout server {words.milliseconds(_DAY)}"
    yield "  timeout connect 1s"  # it waits as long where it was refused by a port
    yield "  retries 1500"  # five minutes; then what it holds is lost, and a process from before a reload ends
    yield "  option redispatch 2"  # waits at the second try of the same
    yield "  balance hash rand(1000000000)"
    yield "  hash-type consistent"
    yield f"  server listener unix@{SOCKET}"
    yield f"  server nobody {nobody}"


class Served(NamedTuple):
    """One request, or one connection of a TCP service, after its end."""

    at: float  # seconds since 1970 when it came
    service: str
    program: str  # who answered; empty: nobody
    lane: str  # whose it was, even if another lane's program answered
    status: int  # 0 for TCP; -1 where there was no answer
    first_byte: float  # seconds from the whole request to the answer's first byte; where there was none, to its end
    seconds: float
    bytes: int
    moved: bool  # to another program, because the first took no connection
    broken: bool  # not by its client

    @property
    def failed(self) -> bool:
        """Whether its client met an error of ours; or would have, if stable's programs had not stood in."""
        return self.status >= _SERVER_ERROR or self.broken or (self.moved and self.lane != STABLE)


def read(line: bytes) -> Optional[Served]:
    """What one line says; None for a line that is none of these."""
    words = line.decode("ascii", "replace").split()
    if len(words) != _COUNT or words[0] != _MARK or ":" in words[2]:  # what is handed on is told by who answers it
        return None
    _, at, service, program, lane, status, _, queued, connected, begun, whole, size, tries, ended = words
    try:
        waits = [int(each) for each in (queued, connected, begun)]
        first = sum(waits) if min(waits) >= 0 else int(whole)
        return Served(
            at=float(at),
            service=service,
            program="" if program == _NOBODY or program.startswith(":") else program,
            lane=STABLE if lane == "-" else lane,
            status=int(status),
            first_byte=max(0, first) / 1000,
            seconds=max(0, int(whole)) / 1000,
            bytes=int(size),
            moved=tries.startswith("+"),
            broken=ended[0] in _BROKEN,
        )
    except ValueError:
        return None
