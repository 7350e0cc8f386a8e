"""What a front is, as values. It knows services, lanes and programs, and nothing of releases or transactions.

A *front* is one HAProxy: where it listens, which requests are which service's, and which programs a service has for
now. What changes in a switch (a server's state, a lane's share, whether requests are held) is said on its socket and
needs no reload; all else is its structure, and does.

A request is its service's stable lane's, or another's: by the header `X-Lane` that a tester sends, else by draw. A
client keeps its draw, and a lane has the draws below its share, so a client changes lanes only when the shares do.
Stable's programs also answer what the program of another lane takes no connection for.
"""

from __future__ import annotations

from typing import Mapping, NamedTuple, Optional, Tuple

HTTP, TCP = "http", "tcp"
READY = "ready"
DRAIN = "drain"  # nothing new; what it has begun goes on, for as long as it is there
WHOLE = 10_000  # what shares are parts of: 500 is 5 %


class Peer(NamedTuple):
    """The other end of a connection over TLS: one that has the key of a certificate which is known beforehand.

    Both files are PEM, as HAProxy reads them from the front's folder.
    """

    own: str  # what it is shown, with its key
    trusted: str  # what is believed
    name: str  # that what it shows has to bear, where it is the one who is connected to
    certificates: str  # that are to stand in `trusted`


class Far(NamedTuple):
    """How those are reached who answer for a service from elsewhere: a connection may take a while, and get lost."""

    repeat: bool = False  # whether any request may be asked of another one, where one breaks off before its answer


class Server(NamedTuple):
    """A program that may answer for its service. One that is not there, or not proven, is in DRAIN."""

    program: str  # api, api.2, api.canary: its name here, too
    port: int
    lane: str = "stable"
    state: str = READY
    address: str = "127.0.0.1"
    peer: Optional[Peer] = None  # of a service that is far
    socket: str = ""  # a unix socket, in place of address and port; it is told who the client is


class Limits(NamedTuple):
    """What strangers may do at a service, and what is said to them: `services.NAME.proxy`. Who is inside, has none."""

    timeout: float = 600.0  # seconds that either side may be silent, within an answer too
    body: int = 0  # bytes that a request may announce; 0 is any number
    rate: int = 0  # requests a second of one client address, twice as many at once; 0 is any number
    connections: int = 0  # requests in flight of one client address
    headers: Tuple[Tuple[str, str], ...] = ()  # of every answer
    unlimited: str = ""  # a path that may be asked as often as one likes
    hidden: str = ""  # a path that is nobody's


class Backend(NamedTuple):
    """A service, and who answers for it.

    Requests are held while no program takes a connection, at most `hold_seconds` each and `hold_requests` at a time;
    what is beyond either is answered with 503 and `Retry-After`. With `held`, no program is asked at all.
    """

    service: str
    servers: Tuple[Server, ...]
    mode: str = HTTP
    shares: Tuple[Tuple[str, int], ...] = ()  # lane but stable -> its share of the clients, of WHOLE
    held: bool = False
    hold_seconds: float = 60.0
    hold_requests: int = 1000
    sticky: bool = True  # a client keeps its draw (by cookie, and without by address); else each request is drawn
    limits: Limits = Limits()
    far: Optional[Far] = None


class Route(NamedTuple):
    """Which requests are whose. Of several that fit, the one that says more counts: hosts, then the longest path."""

    service: str  # empty: nobody's; they are led to `to_tls`
    hosts: Tuple[str, ...] = ()  # names, or *.example.net for one below it; empty: every name
    path: str = "/"  # and what is below it
    to_tls: int = 0  # the port where the same is asked again over TLS; 0 for none


class Certificate(NamedTuple):
    """What a port speaks TLS with. It is read where it is, with each start and reload; no copy is kept."""

    chain: str  # a PEM file
    key: str = ""  # another; empty where the first one has it


class Bind(NamedTuple):
    """Where it listens. One of a TCP service has one route, to it, and no certificates."""

    port: int
    routes: Tuple[Route, ...]
    address: str = "*"  # all of IPv4; "::" is all of both
    certificates: Tuple[Certificate, ...] = ()  # names choose among them; who has none of these, gets the first
    challenged: bool = False  # whether an authority asks here, over ACME, whose the names are
    inside: bool = False  # whether nobody comes by it who is a stranger: other programs of the host
    peer: Optional[Peer] = None  # who alone is let in, and believed in what it says of its clients
    socket: str = ""  # where the host's own front hands on who comes by that port, and says who it is
    own: bool = True  # whether it listens at the port itself, too
    unread: bool = False  # TLS that others speak: only the name is read that a client begins with
    together: bool = False  # whether a front of this account may have the port as well, which is about to leave it


class Front(NamedTuple):
    """One HAProxy.

    `folder` is this account's own, and there. In it are the configuration, the socket, and a place for holding where
    nobody ever listens.
    """

    folder: str
    name: str  # the project's: begins the names of its cookies
    binds: Tuple[Bind, ...]
    backends: Tuple[Backend, ...]
    user: str = ""  # whom the account root becomes for serving, within `folder`; empty: nobody else
    group: str = ""  # its group
    log: bool = False  # whether it says a line a request to who listens in `folder` (`log`)
    drain_seconds: float = 3600.0  # how long what was begun before a reload may take
    threads: int = 2
    metrics: int = 0  # the port of 127.0.0.1 at which it tells Prometheus what it sees; 0 for nowhere
    confined: bool = True  # whether that account sees this folder alone; it connects to nothing elsewhere, then
    hands_over: bool = False  # whether who starts as this account may have the sockets that it listens at


class Crowd(NamedTuple):
    """Those who came to a service whose requests are held."""

    waiting: int = 0  # now
    beyond: int = 0  # sent away since HAProxy's start, because as many waited already as may
    late: int = 0  # sent away, because nobody had taken them for as long as they may wait


class Counted(NamedTuple):
    """What one server has had since HAProxy's start, and has now."""

    state: str
    sessions: int  # now, in processes from before a reload too: nothing is drained before this is 0
    requests: int
    failed: int  # connections that it did not take, or broke
    answers: Mapping[str, int]  # class of status, such as "2xx" -> how many
