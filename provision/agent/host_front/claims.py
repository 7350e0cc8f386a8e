"""What follows from a book: where a project's HAProxy listens, and what the host's front is. Pure."""

from __future__ import annotations

import hashlib
import posixpath
from typing import Dict, Iterable, List, Mapping, Optional

from ...contract.failure import REFUSED, Failure
from ...contract.layout import Layout
from ..front.account import Account
from ..front.values import HTTP, TCP, Backend, Bind, Front, Limits, Route, Server
from .book import OWN, Book, Claim


def wanted(binds: Iterable[Bind], timeouts: Mapping[str, float]) -> Dict[int, Claim]:
    """What a project wants of the ports at which strangers come in.

    Args:
        timeouts: of each service.
    """
    found = {}
    for bind in binds:
        if is_shareable(bind):
            names = {name for route in bind.routes for name in route.hosts or ("",)}
            waits = [timeouts[route.service] for route in bind.routes if route.service]
            longest = max(waits, default=Limits().timeout)
            found[bind.port] = Claim(() if "" in names else tuple(sorted(names)), bool(bind.certificates), longest)
    return found


def demand(book: Book, root: str, claims: Mapping[int, Claim]) -> List[int]:
    """Those of the ports that are shared with somebody, or would be.

    Raises:
        Failure: a name there is another project's, or one of the two speaks TLS there and one does not.
    """
    for port, claim in claims.items():
        for other, theirs in book.others(root, port).items():
            if claim.tls != theirs.tls:
                theirs_, ours = ("TLS", "none") if theirs.tls else ("no TLS", "it")
                raise Failure(
                    REFUSED,
                    f"port {port} is the project's in {other}, too, which speaks {theirs_} there, and this one {ours}.",
                    next_step="change the port of a service's proxy in deploy.toml, then: deploy up",
                )
            twice = sorted({*claim.names} & {*theirs.names}) if claim.names and theirs.names else []
            if twice or not (claim.names or theirs.names):
                said = f"{twice[0]!r} at port {port}" if twice else f"each name at port {port}"
                raise Failure(
                    REFUSED,
                    f"{said} is that of the project in {other}, which had it first.",
                    "Several projects of one account share a port by the names that clients ask for.",
                    "give the proxy other `names` in deploy.toml, then: deploy up; or take that project down",
                )
    return [port for port in claims if port in book.ports or book.others(root, port)]


def placed(book: Book, root: str, front: Front) -> Front:
    """A project's front where it listens now: behind the host's, at ports that this has, or is to have."""
    binds = []
    for bind in front.binds:
        who = book.ports.get(bind.port)
        if is_shareable(bind) and (who is not None or book.others(root, bind.port)):
            bind = bind._replace(socket=socket(bind.port), own=who == root)
        binds.append(bind)
    return front._replace(binds=tuple(binds), hands_over=root in book.ports.values())


def is_shareable(bind: Bind) -> bool:
    """Whether strangers come in there."""
    return not (bind.inside or bind.peer)


def socket(port: int) -> str:
    """Where a project listens for the host's front, in its own one's folder: elsewhere systemd lets it make none."""
    return f"behind-{port}.sock"


def name(root: str, port: int) -> str:
    """What the host's front calls a project at a port."""
    return f"{hashlib.sha256(root.encode()).hexdigest()[:16]}-{port}"


def front_of(book: Book, folder: str, address: str, whom: Optional[Account]) -> Front:
    """The host's front: each port with whoever wants it, each by its names."""
    binds, backends = [], []
    for port in sorted(book.ports):
        there = book.others("", port)
        unread = any(each.tls for each in there.values())
        routes = []
        for root, claim in sorted(there.items()):
            where = posixpath.join(Layout(root).traffic, socket(port))
            routes.append(Route(name(root, port), claim.names))
            backends.append(
                Backend(
                    name(root, port),
                    (Server("project", port, socket=where),),
                    mode=TCP if unread else HTTP,
                    limits=Limits(claim.timeout),
                )
            )
        if routes:
            binds.append(Bind(port, tuple(routes), address, unread=unread, together=True))
    user, group = (whom.user, whom.group) if whom else ("", "")
    return Front(folder, "host", tuple(binds), tuple(backends), user, group, confined=False)


def settled(book: Book) -> Book:
    """The same, where the front has all of its ports by itself."""
    return book._replace(ports=dict.fromkeys(book.ports, OWN))
