"""How bytes reach a registry: TLS, the loopback exception, redirects, retries, and one deadline over all of it.

HTTPS everywhere, with the system's authorities and one's own. A registry on a loopback address may speak plain HTTP,
which is found out before anything else is sent; one whose own authority is configured has to speak TLS.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from provision.connections import Answer, Body, Connections, Deadline, Peer, asked_wait, is_loopback
from provision.errors import RegistryFailed
from provision.images.registry import tls

_SECONDS = 120.0  # for a request, all attempts together, and what its bodies earn
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_RETRIES = 4
_BACKOFF, _LONGEST_BACKOFF = 0.5, 8.0  # seconds; the first retry is at once, then each waits twice as long
_LONGEST_WAIT = 60  # seconds; who asks for a longer wait gets a failure that says so
_MOVED = frozenset({301, 302, 303, 307, 308})
_REDIRECTS = 5
_REGISTRY = Peer("the registry", RegistryFailed)
_CERTIFICATES = Path("/etc/docker/certs.d")  # where Docker looks, too


class Wire:
    """Requests to one registry and to where it sends us; safe to use from several threads.

    Args:
        authority: `host[:port]` of the registry.
    """

    def __init__(self, authority: str, environ: Mapping[str, str] | None = None) -> None:
        self.authority = authority
        self._environ = os.environ if environ is None else environ
        self._connections = Connections(lambda: self._tls, _REGISTRY)
        self._scheme = ""  # until it is known

    @property
    def base(self) -> str:
        """The registry's address; until something was sent, the one to expect."""
        return f"{self._scheme or ('http' if self._may_be_plain else 'https')}://{self.authority}"

    def send(self, method: str, where: str, *, headers: Mapping[str, str], body: Body = None) -> Answer:
        """One request, retried where that helps; its answer, whatever the status, body unread.

        A body that is an iterator can be sent once, so it is not retried.

        Args:
            where: a path below the registry, or a whole address.

        Raises:
            RegistryFailed: no answer in time, a certificate that is not trusted, or a redirect that would uncover what
                is sent.
        """
        deadline = Deadline(_SECONDS)
        first = None if self._scheme else self._find_out(method, where, headers, deadline)
        url = joined(self.base, where)
        for _ in range(_REDIRECTS):
            self._demand_cover(url)
            answer = self._patiently(method, url, headers, body, deadline, first)
            location = answer.headers.get("location") if answer.status in _MOVED else None
            if not location or method not in {"GET", "HEAD"}:
                return answer
            answer.finish()
            target = joined(url, location)
            if urlsplit(target).netloc != urlsplit(url).netloc:
                # What opens the registry does not open where it keeps its blobs, and must not be shown there.
                headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
            url, first = target, None
        raise RegistryFailed(f"{self.authority} redirected more than {_REDIRECTS} times.")

    def _find_out(self, method: str, where: str, headers: Mapping[str, str], deadline: Deadline) -> Answer | None:
        """Whether a registry on loopback speaks plain HTTP; the first answer shows it, and is worth keeping.

        What opens the registry is shown to nobody before that is known.
        """
        if not self._may_be_plain:
            self._scheme = "https"
            return None
        is_open = method in {"GET", "HEAD"} and "Authorization" not in headers and not urlsplit(where).netloc
        if is_open:
            try:
                answer = self._connections.ask(method, urljoin(self.base, where), headers, None, deadline)
            except OSError:
                pass
            else:
                # Servers of TLS say in plain HTTP, if anything, that they do not understand.
                if answer.status != 400:
                    self._scheme = "http"
                    return answer
                answer.drop()
        self._scheme = "https" if tls.is_spoken_at(self.authority) else "http"
        return None

    def _patiently(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body,
        deadline: Deadline,
        answer: Answer | None,
    ) -> Answer:
        # PUT by digest and starting an upload can be repeated too.
        left = _RETRIES if body is None or isinstance(body, bytes) else 0
        backoff = 0.0
        while True:
            wait = backoff
            try:
                answer = answer or self._connections.ask(method, url, headers, body, deadline)
            except OSError as error:
                if not left or deadline.is_over or tls.stays_wrong(error):
                    raise tls.silence(urlsplit(url).netloc, error, _CERTIFICATES) from None
            else:
                if not left or answer.status not in _AGAIN:
                    return answer
                wait = asked_wait(answer, backoff)
                if wait > _LONGEST_WAIT:
                    return answer
                answer.drop()
            deadline.wait(max(wait, 0))
            answer = None
            left, backoff = left - 1, min(max(2 * backoff, _BACKOFF), _LONGEST_BACKOFF)

    def _demand_cover(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.netloc)):
            raise RegistryFailed(
                f"{self.authority} sent us to {parts.scheme}://{parts.netloc}, which is not HTTPS.",
                why="What is sent there could be read and changed on the way; plain HTTP is for loopback alone.",
            )

    @cached_property
    def _may_be_plain(self) -> bool:
        return is_loopback(self.authority) and not self._own_authorities

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return tls.trusting(self._own_authorities)

    @cached_property
    def _own_authorities(self) -> list[Path]:
        named = self._environ.get("REGISTRY_CA")
        return [*([Path(named)] if named else []), *sorted((_CERTIFICATES / self.authority).glob("*.crt"))]


def joined(base: str, where: str) -> str:
    """The address `where`, which a registry gave, seen from `base`.

    Raises:
        RegistryFailed: it is none.
    """
    try:
        address = urljoin(base, where)
        urlsplit(address).port  # noqa: B018  (it raises)
    except ValueError:
        raise RegistryFailed(f"the registry sent us to what is no address: {where[:80]!r}.") from None
    return address
