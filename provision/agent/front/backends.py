"""The part of the configuration that says who answers a service's requests.

All of a service's programs are servers of one backend, so that a request which one does not take goes to another.
Only stable's have a weight. Who is another lane's is sent to its program by a rule, which HAProxy asks once: what that
program does not take is balanced among stable's.

What waits, waits in retries: a server that nobody listens at is tried again and again, until one that somebody does
listen at is ready. HAProxy has no other way to hold a request and send it to whoever comes.
"""

from __future__ import annotations

import math
from typing import Dict, Iterator, List

from ...contract.slots import STABLE
from . import words
from .values import HTTP, READY, Backend, Far, Limits, Peer, Server

HOLD = ":hold"  # the server that requests wait for; no program is called so
SECURE = "txn.secure"  # whether the client came over TLS, as the frontend says
INSIDE = "txn.inside"  # whether it is no stranger, as the frontend says
LANE_HEADER = "X-Lane"

# Who connects to a program of this machine is taken or refused at once. HAProxy waits as long before it tries the same
# server again, so this is what a held request waits at most once somebody takes it.
_CONNECT_SECONDS = 0.1
NOBODY = "127.0.0.1:1"  # only root could listen there, and nobody has for thirty years
_FAR_SECONDS = 2.0  # which a connection to another machine may take, TLS included
_LONGEST_WAIT = 1.0  # of HAProxy before it tries the same server again
_OBSERVED = " observe layer4 error-limit 1 on-error mark-down"
_REPEATABLE = "GET HEAD OPTIONS PUT DELETE"  # as often as one likes (RFC 9110, 9.2.2)
_EVEN = 64  # points of the hash; few of them would be of unequal lengths
_RETRY_AFTER = 10  # seconds
_COOKIE_SECONDS = 86_400


def lanes(backend: Backend) -> List[str]:
    """Its lanes but stable, in the order in which they are drawn."""
    found = {server.lane for server in backend.servers} | {lane for lane, _ in backend.shares}
    return sorted(found - {STABLE})


def states(backend: Backend) -> Dict[str, bool]:
    """Server -> whether HAProxy gives it requests. While requests are held, stable's programs get none."""
    found = {
        server.program: server.state == READY and not (backend.held and server.lane == STABLE)
        for server in backend.servers
    }
    # Where it is far, HAProxy sees for itself that nobody is there: then it is asked, else it is not.
    return {**found, HOLD: backend.held or backend.far is not None}


def bounds(backend: Backend) -> Dict[str, int]:
    """Variable of HAProxy's process -> below which draw a client is in that lane, or in one before it."""
    shares, found, below = dict(backend.shares), {}, 0
    for lane in lanes(backend):
        below += words.whole("share", shares.get(lane, 0))
        found[_bound(backend, lane)] = below
    return found


def knows_strangers(limits: Limits) -> bool:
    """Whether anything holds for those alone who come from elsewhere."""
    return bool(limits.hidden or limits.body or limits.rate or limits.connections or limits.headers)


def section(project: str, backend: Backend, secure: bool) -> Iterator[str]:
    """The lines of one `backend`.

    Args:
        secure: whether anybody comes to it over TLS.
    """
    connect = _FAR_SECONDS if backend.far else _CONNECT_SECONDS
    tries = math.ceil(backend.hold_seconds / min(connect, _LONGEST_WAIT))
    yield f"backend {words.name('service', backend.service)}"
    yield f"  mode {backend.mode}"
    # By chance, and no program more than its part of what is in flight. `leastconn` would spend all tries within
    # milliseconds where two programs are away, because it never waits before it asks another; a hash does.
    yield "  balance hash rand(1000000000)"
    yield "  hash-type consistent"
    yield "  hash-balance-factor 101"
    yield f"  timeout connect {words.milliseconds(connect)}"
    yield f"  timeout server {words.milliseconds(backend.limits.timeout)}"
    yield f"  timeout tunnel {words.milliseconds(backend.limits.timeout)}"
    yield f"  retries {max(tries, 1)}"
    if backend.far:
        yield from _far(backend.far, backend.mode)
    else:
        yield "  option redispatch 2"  # the same program once more, then another
    yield from _http(project, backend, secure) if backend.mode == HTTP else _tcp(backend)
    for lane in lanes(backend):
        yield from _sent_to(backend, lane)
    up = states(backend)
    for server in backend.servers:
        line = f"  server {words.name('program', server.program)} {at(server)} weight {weight(server)}"
        line += _over_tls(server.peer) if server.peer else ""
        line += " send-proxy-v2" if server.socket else ""
        yield line + ("" if up[server.program] else " disabled")
    yield f"  server {HOLD} {NOBODY}" + (" backup" if backend.far else "") + ("" if up[HOLD] else " disabled")


def _far(far: Far, mode: str) -> Iterator[str]:
    """A machine that does not answer is out at once, and in again when it does; where none is, requests wait.

    What has not begun to be answered is asked of another one: where nothing was sent, always.
    """
    yield "  option redispatch 1"
    if mode == HTTP:
        yield "  retry-on conn-failure empty-response"
        if not far.repeat:
            yield f"  http-request disable-l7-retry if !{{ method {_REPEATABLE} }}"


def _over_tls(peer: Peer) -> str:
    own, trusted = words.quoted("file", peer.own), words.quoted("file", peer.trusted)
    name = words.host(peer.name)
    # Without sessions of before: each connection shows the certificate.
    tls = f" ssl crt {own} verify required ca-file {trusted} verifyhost {name} sni str({name}) no-ssl-reuse"
    return tls + " check inter 1s fastinter 300ms downinter 300ms fall 2 rise 1" + _OBSERVED


def _http(project: str, backend: Backend, secure: bool) -> Iterator[str]:
    yield "  option http-no-delay"
    yield f"  http-error status 503 content-type text/plain string 'nobody answers' hdr Retry-After {_RETRY_AFTER}"
    yield from _limits(backend)
    yield from _crowd(backend)
    beyond = f"status 503 content-type text/plain string 'too many wait' hdr Retry-After {_RETRY_AFTER}"
    yield f"  http-request deny {beyond} if holding crowded"  # which is counted, unlike `return`
    # Who asks as this one sees it, not as the client says.
    yield "  http-request set-header X-Forwarded-For %[src]"
    yield "  http-request set-header X-Request-ID %[uuid()]"
    if secure:
        yield f"  acl secure var({SECURE}) -m found"
    if lanes(backend):
        yield from _drawn(backend, words.name("project", project), secure)
    given = {name.lower() for name, _ in backend.limits.headers}
    if secure and "strict-transport-security" not in given:
        yield "  http-response set-header Strict-Transport-Security max-age=31536000 if secure"
    for header, value in backend.limits.headers:
        yield f"  http-response set-header {words.header(header)} {words.expanded('header', value)} if !inside"


def _tcp(backend: Backend) -> Iterator[str]:
    yield "  option srvtcpka"
    yield "  no option abortonclose"  # who has said all that it will say is no one who has left
    yield from _crowd(backend)
    yield "  tcp-request content reject if holding crowded"
    if lanes(backend):
        yield "  acl laned var(txn.lane) -m found"
        yield f"  tcp-request content set-var(txn.draw) {'src,xxh32,mod(10000)' if backend.sticky else 'rand(10000)'}"
        yield from _laned("tcp-request content", backend)


def _limits(backend: Backend) -> Iterator[str]:
    limits = backend.limits
    if not knows_strangers(limits):
        return
    yield f"  acl inside var({INSIDE}) -m found"
    if limits.hidden:
        path = words.quoted("path", limits.hidden)
        yield f"  http-request return status 404 if !inside {{ path -m str -- {path} }}"
    if limits.body:
        large = words.whole("body", limits.body)
        yield f"  http-request return status 413 if !inside {{ req.body_size gt {large} }}"
    if not limits.rate and not limits.connections:
        return
    yield "  stick-table type ipv6 size 100k expire 1m store gpc0_rate(2s),conn_cur"
    yield f"  acl free var({INSIDE}) -m found"
    if limits.unlimited:
        yield f"  acl free path -m str -- {words.quoted('path', limits.unlimited)}"
    yield "  http-request track-sc0 src if !free"
    many = "status 429 content-type text/plain string 'too many requests' hdr Retry-After 1"
    if limits.connections:
        most = words.whole("connections", limits.connections)
        yield f"  http-request return {many} if !free {{ sc_conn_cur(0) gt {most} }}"
    if limits.rate:  # over two seconds, so twice as many may come at once; who was sent away does not count
        yield f"  http-request return {many} if !free {{ sc_gpc0_rate(0) ge {2 * words.whole('rate', limits.rate)} }}"
        yield "  http-request sc-inc-gpc0(0) if !free"


def _crowd(backend: Backend) -> Iterator[str]:
    """Whether more wait than may: what is in the backend, and at no program."""
    rule = "http-request" if backend.mode == HTTP else "tcp-request content"
    service, programs = backend.service, [words.name("program", server.program) for server in backend.servers]
    yield f"  acl holding srv_is_up({service}/{HOLD})"
    for number, program in enumerate(programs):
        yield f"  {rule} set-var(txn.at{number}) srv_conn({service}/{program}) if holding"
    less = "".join(f",sub(txn.at{number})" for number in range(len(programs)))
    yield f"  {rule} set-var(txn.waiting) be_conn({service}){less} if holding"
    yield f"  acl crowded var(txn.waiting) -m int gt {words.whole('hold_requests', backend.hold_requests)}"


def _drawn(backend: Backend, project: str, secure: bool) -> Iterator[str]:
    yield "  acl laned var(txn.lane) -m found"
    for lane in [STABLE, *lanes(backend)]:
        word = words.name("lane", lane)
        yield f"  http-request set-var(txn.lane) str({word}) if {{ req.hdr({LANE_HEADER}) -m str {word} }}"
    last = _bound(backend, lanes(backend)[-1])
    if backend.sticky:
        cookie = f"{words.variable('project', project)}_{words.variable('service', backend.service)}_draw"
        yield f"  acl known req.cook({cookie}) -m reg '^[0-9]{{1,4}}$'"
        yield f"  http-request set-var(txn.draw) req.cook({cookie}),add(0) if known"
        yield "  http-request set-var-fmt(txn.who) %[src]|%[req.hdr(user-agent)] if !known"
        yield "  http-request set-var(txn.draw) var(txn.who),xxh32,mod(10000) if !known"
        yield "  http-request set-var(txn.new) bool(true) if !known"
        given = f"{cookie}=%[var(txn.draw)]; Path=/; Max-Age={_COOKIE_SECONDS}; HttpOnly; SameSite=Lax"
        new = f"{{ var(txn.new) -m found }} {{ var({last}) -m int gt 0 }}"
        yield f"  http-response add-header Set-Cookie '{given}' if {new}" + (" !secure" if secure else "")
        if secure:
            yield f"  http-response add-header Set-Cookie '{given}; Secure' if {new} secure"
    else:
        yield "  http-request set-var(txn.draw) rand(10000)"
    yield from _laned("http-request", backend)


def _laned(rule: str, backend: Backend) -> Iterator[str]:
    for lane in lanes(backend):
        drawn = f"{{ var({_bound(backend, lane)}),sub(txn.draw) gt 0 }}"
        yield f"  {rule} set-var(txn.lane) str({words.name('lane', lane)}) if !laned {drawn}"


def _sent_to(backend: Backend, lane: str) -> Iterator[str]:
    """One program of the lane, by chance where it has several."""
    condition = f"{{ var(txn.lane) -m str {words.name('lane', lane)} }}"
    programs = [words.name("program", server.program) for server in backend.servers if server.lane == lane]
    for left, program in zip(range(len(programs), 0, -1), programs):
        yield f"  use-server {program} if {condition}" + (f" {{ rand({left}) eq 0 }}" if left > 1 else "")


def at(server: Server) -> str:
    """Where it is, with its port."""
    if server.socket:
        return words.quoted("socket", f"unix@{server.socket}")
    return f"{words.address(server.address)}:{words.port(server.port)}"


def weight(server: Server) -> int:
    """What it has of what no rule sends elsewhere."""
    return _EVEN if server.lane == STABLE else 0


def _bound(backend: Backend, lane: str) -> str:
    return f"proc.below.{words.variable('service', backend.service)}.{words.variable('lane', lane)}"
