"""The part of the configuration that takes requests, and says whose each is.

After a reload a process is left that still has clients, and knows only what it knew: HAProxy takes no more orders
there. What they ask for next it hands on to its successor, over a socket of their own. That is the port's, whichever
addresses of it are listened at then: who was at another one is handed on as well.
"""

from __future__ import annotations

import hashlib
from typing import Iterator, List, Mapping, Tuple

from . import words
from .backends import INSIDE, SECURE, knows_strangers
from .log import FORMAT, FORMAT_TCP
from .values import TCP, Backend, Bind, Certificate, Limits, Route

# What an authority is told that asks for a token: it, and whose account asked for that (RFC 8555, 8.3). So the answer
# is known before the question, and no client need be told of.
ANSWER = "acme/answer"
_ASKED = "'^/[.]well-known/acme-challenge/[A-Za-z0-9_-]+$'"
HANDED_ON = "successor:"
_CONNECT_SECONDS = 5.0
_HELLO_SECONDS = 10.0
_HTTPS = 443


def section(
    bind: Bind, backends: Mapping[str, Backend], user: str, log: bool, *, is_first: bool = True
) -> Iterator[str]:
    """The lines of one `frontend`, and of what hands its requests on.

    Args:
        is_first: of its port, so that it takes what is handed on.
    """
    served = [backends[route.service] for route in bind.routes if route.service]
    patience = max((each.limits.timeout for each in served), default=Limits().timeout)
    yield f"frontend {_called(bind)}"
    owner = f" user {words.name('user', user)}" if user else ""
    yield from _listens(bind, owner)
    yield f"  timeout client {words.milliseconds(patience)}"
    if bind.unread:
        yield from _unread(bind)
        return
    if any(each.mode == TCP for each in served):
        yield "  mode tcp"
        if log:
            yield f"  log-format '{FORMAT_TCP}'"
        yield "  option clitcpka"
        yield f"  default_backend {words.name('service', served[0].service)}"
        return
    if is_first:
        yield f"  bind {_handed_on(bind)} mode 600 accept-proxy{owner}"
    yield "  mode http"
    if log:
        yield f"  log-format '{FORMAT}'"
    yield "  option http-no-delay"  # tokens are passed on as they come
    yield "  option idle-close-on-response"  # after a reload a client hears with an answer that its connection ends
    if bind.peer:
        # Whose certificate is pinned tells for whom it asks; and the file with that is no part of the configuration.
        yield f"  # admits {hashlib.sha256(bind.peer.certificates.encode()).hexdigest()}"
        yield "  http-request set-src req.hdr_ip(X-Forwarded-For,-1)"
    else:
        yield f"  http-request set-header X-Forwarded-Proto {'https' if bind.certificates else 'http'}"
    if bind.certificates:
        yield f"  http-request set-var({SECURE}) bool(true)"
    if bind.inside and any(knows_strangers(each.limits) for each in served):
        yield f"  http-request set-var({INSIDE}) bool(true)"
    if bind.challenged:
        yield f"  http-request return status 200 content-type text/plain lf-file {ANSWER} if {{ path -m reg {_ASKED} }}"
    everybodys = _everybodys(bind)
    if not everybodys:
        yield from _routing(bind)
    yield f"  use_backend {_successor(bind)} if {{ stopping }}"
    yield f"  default_backend {everybodys}" if everybodys else "  use_backend %[var(txn.service)]"
    yield ""
    yield f"backend {_successor(bind)}"
    yield "  mode http"
    yield "  option http-no-delay"
    yield f"  timeout connect {words.milliseconds(_CONNECT_SECONDS)}"
    yield f"  timeout server {words.milliseconds(patience)}"
    yield f"  timeout tunnel {words.milliseconds(patience)}"
    yield f"  server next {_handed_on(bind)} send-proxy-v2"


def _listens(bind: Bind, owner: str) -> Iterator[str]:
    if bind.own:
        yield f"  bind {listening(bind)}"
    if bind.socket:
        yield f"  bind {words.quoted('socket', f'unix@{bind.socket}')} mode 600 accept-proxy{owner}{_tls(bind)}"


def _called(bind: Bind) -> str:
    """Services have no colon in their names."""
    return f"front:{_place(bind)}"


def _successor(bind: Bind) -> str:
    return f"{HANDED_ON}{_place(bind)}"


def _handed_on(bind: Bind) -> str:
    """In the folder in which HAProxy is started. Who starts with another's sockets takes those of the same names."""
    return f"unix@{'host' if bind.together else 'port'}-{words.port(bind.port)}.sock"


def _place(bind: Bind) -> str:
    address = "all" if bind.address == "*" else words.address(bind.address).strip("[]").replace(":", "_")
    return f"{address}-{words.port(bind.port)}"


def listening(bind: Bind) -> str:
    """What follows `bind`."""
    where = "*" if bind.address == "*" else words.address(bind.address)
    found = f"{where}:{words.port(bind.port)}"
    if bind.address == "::":  # by one socket for both, clients of IPv4 would be called ::ffff:10.0.0.5
        found = f"*:{words.port(bind.port)},{found} v6only"
    if bind.peer:
        own, trusted = (words.quoted("file", each) for each in (bind.peer.own, bind.peer.trusted))
        found += f" ssl crt {own} ca-file {trusted} verify required alpn http/1.1"
    return found + _tls(bind)


def _tls(bind: Bind) -> str:
    files = "".join(f" crt {words.quoted('certificate', path_of(each))}" for each in bind.certificates)
    return f" ssl{files} alpn h2,http/1.1" if files else ""


def path_of(certificate: Certificate) -> str:
    """What HAProxy reads: with a key apart, a link in the front's folder, beside which it looks for the key's."""
    if not certificate.key:
        return certificate.chain
    return f"tls-{hashlib.sha256(repr(tuple(certificate)).encode()).hexdigest()[:16]}.pem"


def _unread(bind: Bind) -> Iterator[str]:
    """Connections go to whose the name is that the client's first message asks for; others are ended."""
    yield "  mode tcp"
    yield "  option clitcpka"
    yield f"  tcp-request inspect-delay {words.milliseconds(_HELLO_SECONDS)}"
    yield "  tcp-request content accept if { req.ssl_hello_type 1 }"
    yield "  tcp-request content reject"
    for host, _, leads in _in_order(bind.routes):
        how, wanted = ("end", host[1:]) if host.startswith("*.") else ("str", host)
        name = words.quoted("host", wanted)
        asked = f"{{ req.ssl_sni -i -m {how} -- {name} }}"
        yield f"  use_backend {leads} if {asked}" if host else f"  default_backend {leads}"


def _everybodys(bind: Bind) -> str:
    """The service to which all requests go, so that nothing need be asked; empty where there is none."""
    (host, path, leads), *more = _in_order(bind.routes)
    return "" if more or host or path or leads.startswith(":") else leads


def _routing(bind: Bind) -> Iterator[str]:
    yield "  http-request set-var(txn.host) req.hdr(host),host_only,lower"
    yield "  acl routed var(txn.service) -m found"
    for number, (host, path, leads) in enumerate(_in_order(bind.routes)):
        conditions = ["!routed"]
        if host:
            wide = host.startswith("*.")
            how, wanted = ("end", host[1:]) if wide else ("str", host)
            yield f"  acl host{number} var(txn.host) -m {how} -- {words.quoted('host', wanted)}"
            conditions.append(f"host{number}")
        if path:
            yield f"  acl path{number} path -m str -- {words.quoted('path', path)}"
            yield f"  acl path{number} path -m beg -- {words.quoted('path', path + '/')}"
            conditions.append(f"path{number}")
        yield f"  http-request set-var(txn.service) str({leads}) if {' '.join(conditions)}"
    nobodys = "status 404 content-type text/plain string 'nobody has this name'"
    yield f"  http-request return {nobodys} if !routed !{{ stopping }}"  # a successor may know more
    for to in sorted({route.to_tls for route in bind.routes if route.to_tls}):
        port = "" if to == _HTTPS else f":{words.port(to)}"
        where = f"https://%[var(txn.host)]{port}%[pathq]"
        # 308 keeps the method.
        yield f"  http-request redirect location {where} code 308 if {{ var(txn.service) -m str :{to} }}"


def _in_order(routes: Tuple[Route, ...]) -> List[Tuple[str, str, str]]:
    """Host, path and where they lead; those first that say more. A path has no slash at its end, the whole is empty."""
    found = []
    for route in routes:
        leads = words.name("service", route.service) if route.service else f":{words.port(route.to_tls)}"
        path = words.path(route.path)
        for host in route.hosts or ("",):
            wide = host.startswith("*.")
            judged = ("*." if wide else "") + words.host(host[2:] if wide else host) if host else ""
            found.append((judged, path, leads))
    return sorted(found, key=lambda each: (each[0] == "", each[0].startswith("*."), -len(each[0]), -len(each[1])))
