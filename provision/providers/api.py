"""A provider's JSON over HTTPS: one account's key, a pace for each endpoint, one deadline, and no second try of a call
that may have taken effect.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from provision.connections import Connections, Deadline, Peer, asked_wait, is_loopback
from provision.errors import UsageError
from provision.providers.face import ProviderFailed, Unclear

_SECONDS = 60.0  # for a call with all of its tries, waits not counted
_TRIES = 6
_LONGEST_WAIT = 60.0  # seconds between two tries
_LONGEST = 16 << 20  # bytes of an answer
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


class Said(NamedTuple):
    """An answer: its status, and what its JSON says; None where it is none."""

    status: int
    value: Any

    @property
    def reason(self) -> str:
        """What it says went wrong."""
        said = self.value if isinstance(self.value, dict) else {}
        words = [str(said[key]) for key in ("error", "msg", "detail") if said.get(key)]
        return f"HTTP {self.status}" + (f": {', '.join(words)[:300]}" if words else "")


@dataclass(frozen=True)
class Clock:
    """How time goes; tests make it go fast."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Api:
    """One account's calls; safe to use from several threads.

    Args:
        name: the provider's, for sentences.
        base: its address.
        key: shown to that address alone, in a header.
        key_from: where a person looks for it.
        paces: endpoint -> seconds between two calls of it, at least.

    Raises:
        UsageError: `base` is neither HTTPS nor this machine.
    """

    def __init__(self, name: str, base: str, key: str, key_from: str, paces: Mapping[str, float], clock: Clock) -> None:
        parts = urlsplit(base)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.netloc)):
            raise UsageError(
                f"{name} can't be asked at {base!r}: the account's key would go there in the open.",
                next_step="give an https:// address; http:// is for this machine alone",
            )
        self.name = name
        self._base = base.rstrip("/")
        self._key = key
        self._key_from = key_from
        self._paces = paces
        self._clock = clock
        self._next: dict[str, float] = {}
        self._ahead = 0.0  # seconds that the provider's clock is ahead of ours
        self._turn = threading.Lock()
        self._connections = Connections(ssl.create_default_context, Peer(name, ProviderFailed))

    def call(self, method: str, path: str, endpoint: str, body: object = None, *, again: bool = True) -> Said:
        """Ask, and hear; a call that changes nothing more when it is made twice is made again where that helps.

        Args:
            endpoint: whose pace it keeps.
            again: whether it may be made twice.

        Raises:
            Unclear: it may have been done, or not; of a call that is not made twice.
            ProviderFailed: there was no usable answer.
            UsageError: the key is not taken.
        """
        sent = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._key}", "Accept": "application/json"}
        headers |= {"Content-Type": "application/json"} if sent else {}
        deadline = Deadline(_SECONDS)
        wait = max(self._paces.get(endpoint, 0.0), 1.0)
        for left in reversed(range(_TRIES)):
            self._wait_for_turn(endpoint)
            pause = wait
            try:
                answer = self._connections.ask(method, f"{self._base}{path}", headers, sent, deadline)
                self._set_clock(answer.headers.get("date", ""))
                said = _heard(answer.status, answer.read(_LONGEST))
                pause = asked_wait(answer, wait)
            except (OSError, ProviderFailed) as error:
                why = str(error.__cause__ or error) or type(error).__name__
            else:
                if said.status == 401:
                    raise self.key_refused(said)
                if said.status not in _AGAIN and (said.status >= 300 or said.value is not None):
                    return said
                why = said.reason if said.status >= 300 else "its answer is no JSON"
            if not again:
                raise Unclear(f"{self.name} did not say whether it did it.", why=why)
            if not left or pause > _LONGEST_WAIT:
                break
            self._clock.sleep(max(pause, 0.0))
            wait = min(2 * wait, _LONGEST_WAIT)
        raise ProviderFailed(f"{self.name} does not answer.", why=why, next_step="try again in a few minutes")

    def fetch(self, url: str, most: int) -> str | None:
        """What lies at an address that the provider named, without the key; None while nothing is there.

        Raises:
            ProviderFailed: the address can't be used, or what lies there is longer than `most` bytes.
        """
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.netloc)):
            raise ProviderFailed(f"{self.name} names an address that is not HTTPS.", why=url[:200])
        try:
            answer = self._connections.ask("GET", url, {}, None, Deadline(_SECONDS))
        except OSError:
            return None
        text = answer.read(most).decode("utf-8", "replace")
        return text if answer.status == 200 else None

    def now(self) -> float:
        """Seconds since 1970, by the clock of whoever answered last; ours before that."""
        return time.time() + self._ahead

    def _set_clock(self, date: str) -> None:
        with contextlib.suppress(ValueError):  # RFC 9110, 6.6.1: one without a clock says nothing
            self._ahead = parsedate_to_datetime(date).timestamp() - time.time()

    def _wait_for_turn(self, endpoint: str) -> None:
        with self._turn:
            now = self._clock.now()
            at = max(now, self._next.get(endpoint, now))
            self._next[endpoint] = at + self._paces.get(endpoint, 0.0)
        if at > now:
            self._clock.sleep(at - now)

    def key_refused(self, said: Said) -> UsageError:
        return UsageError(
            f"{self.name} does not take the account's key.",
            why=said.reason,
            next_step=f"look at {self._key_from}; the provider's page makes a new one",
        )


def _heard(status: int, content: bytes) -> Said:
    try:
        return Said(status, json.loads(content))
    except (ValueError, RecursionError):
        return Said(status, {"msg": content.decode("utf-8", "replace").strip()} if status >= 300 else None)
