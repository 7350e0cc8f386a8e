"""From a declared host to a connection: the way there, its keys, and who is asked what.

Only connecting is ever repeated: nothing has happened on the host yet.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from provision.hosts.connection import HostConnection
from provision.hosts.line import TryAgain, open_line
from provision.hosts.round_trips import RoundTrips
from provision.hosts.route import Hop, resolve
from provision.hosts.spec import HostSpec

if TYPE_CHECKING:
    from provision.hosts.login import Login

# OpenSSH drops unauthenticated connections beyond MaxStartups (10 by default); many hosts can share one jump host.
_MOST_UNAUTHENTICATED = 8
_RETRY_SECONDS = 4.0  # the longest wait between two attempts
_handshakes: defaultdict[tuple[str, int], threading.BoundedSemaphore] = defaultdict(
    lambda: threading.BoundedSemaphore(_MOST_UNAUTHENTICATED)
)


@dataclass(frozen=True)
class ConnectEvent:
    """Something to show while a connection is made: `what` is connecting, retrying or connected."""

    host: str
    what: str
    detail: str = ""


def connect(
    spec: HostSpec,
    *,
    on_event: Callable[[ConnectEvent], None] = lambda _: None,
    ask_passphrase: Callable[[Path], str] | None = None,
    retries: int = 3,
) -> HostConnection:
    """Connect to `spec` over all its jumps, each host key checked against the pinned ones.

    A refused, reset or dropped connection is tried `retries` times more, after random waits.

    Raises:
        HostKeyUnknown: nobody pinned the key of the host, or of a jump.
        HostKeyChanged: it shows another key than the pinned one.
        Unreachable: no connection, or no key of ours is accepted.
        UsageError: ssh's configuration, the identity or a known_hosts file cannot be used.
    """
    hops = resolve(spec)
    on_event(ConnectEvent(spec.name, "connecting", " via ".join(hop.name for hop in reversed(hops))))

    def attempt() -> HostConnection:
        return _connect_once(spec, hops, ask_passphrase)

    try:
        connection = attempt()
    except TryAgain as error:
        connection = _again(error, attempt, retries, lambda why: on_event(ConnectEvent(spec.name, "retrying", why)))
    on_event(ConnectEvent(spec.name, "connected"))
    return connection


def _again(
    failed: TryAgain, attempt: Callable[[], HostConnection], retries: int, tell: Callable[[str], None]
) -> HostConnection:
    """`attempt` once more and again, after it failed for the first time."""
    from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    made = [failed]

    def next_attempt() -> HostConnection:
        if made:
            raise made.pop()
        return attempt()

    def about_to_wait(state: RetryCallState) -> None:
        tell(str(state.outcome.exception() if state.outcome else ""))

    retrying = Retrying(
        retry=retry_if_exception_type(TryAgain),
        stop=stop_after_attempt(1 + retries),
        wait=wait_random_exponential(multiplier=0.25, max=_RETRY_SECONDS),
        before_sleep=about_to_wait,
        reraise=True,
    )
    return retrying(next_attempt)


def _connect_once(
    spec: HostSpec, hops: tuple[Hop, ...], ask_passphrase: Callable[[Path], str] | None
) -> HostConnection:
    round_trips = RoundTrips()

    def log_in() -> Login:
        with _handshakes[hops[0].address, hops[0].port]:
            return open_route(hops, ask_passphrase, round_trips)

    return HostConnection(spec, log_in(), log_in, round_trips)


def open_route(hops: tuple[Hop, ...], ask_passphrase: Callable[[Path], str] | None, round_trips: RoundTrips) -> Login:
    """Log in to the last of `hops`, through the others; raises as `connect` does."""
    login: Login | None = None
    try:
        for hop in hops:
            line = open_line(hop, login)
            from provision.hosts.handshake import log_in  # heavy, and imported while the line is being made

            login = log_in(hop, login, line, ask_passphrase, round_trips)
    except BaseException:
        if login is not None:
            login.close()
        raise
    assert login is not None  # noqa: S101  # for the type checker: a route has a hop
    return login
