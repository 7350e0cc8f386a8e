"""How often the API server is asked again, and for how long.

- It has never answered: a few seconds. It was misspelt, or is off, and nothing has begun.
- It is away or busy (429, 503; it just started, and answers 403 to everybody until it has read who may what): a minute,
  which is what an upgrade takes. `Retry-After` is kept to.
- It fails (500, 502, 504), or several wrote at once (409 that names no field): a moment. A webhook that is gone is 500,
  and stays so.

What is not safe to ask twice is not, where it may have been done: `Unsure`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from json import JSONDecodeError
from typing import TypeVar

import httpx2
from lightkube.core.exceptions import ApiError, ConfigError
from msgspec import DecodeError

from provision.errors import Refused, Unreachable

_Result = TypeVar("_Result")

CONNECT = 5.0  # seconds of one attempt
_AT_FIRST = 5.0  # seconds in all
_AWAY = 60.0
_FAILING = 10.0
_STARTING = 15.0
_LONGEST = 10.0  # seconds between two attempts, whatever Retry-After says
_BUSY = (429, 503)
_FAILED = (500, 502, 504)
# What lightkube raises where a program that logs in fails, or says nothing of use; nothing was sent.
NO_LOGIN = (ConfigError, KeyError, JSONDecodeError, TypeError)
_SAID = re.compile(r"^Exec \S+ returned \d+: ")  # lightkube's, of what stands before the program
_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class NoSuchKind(Exception):
    """The server knows no such kind: what defines it was not installed."""


class Unsure(Exception):
    """Nobody said whether it was done."""


class Patience:
    """Towards one server.

    Args:
        by_certificate: called where who logs in gave no token; whether there is another way now.
    """

    def __init__(self, server: str, by_certificate: Callable[[], bool] = lambda: False) -> None:
        self._server = server
        self._by_certificate = by_certificate
        self._has_answered = False
        self._away = -_STARTING  # when it did not answer for the last time

    def away(self) -> None:
        """Somebody has just seen that it does not answer."""
        self._away = time.monotonic()

    def was_away(self, since: float) -> bool:
        """Whether anybody here has seen that it does not answer, since then by `time.monotonic`."""
        return self._away > since

    def ask(self, ask: Callable[[], _Result], *, twice: bool = True) -> _Result:
        """What `ask` gives, asked as often as it makes sense.

        Args:
            twice: whether it is safe to ask again for what may have been done.

        Raises:
            ApiError: its answer.
            NoSuchKind: it is none of this server's.
            Refused: the kubeconfig's way to log in fails.
            Unsure: it may have been done, and is not safe to ask twice.
            Unreachable: it does not answer.
        """
        began, pause = time.monotonic(), 0.2
        while True:
            try:
                answer = ask()
            except httpx2.HTTPStatusError as error:
                self._has_answered = True
                if not twice and error.response.status_code in _FAILED:
                    raise Unsure from error
                if time.monotonic() - began > self._seconds(error, twice=twice):
                    raise self._told(error) from None
                time.sleep(max(pause, _asked_for(error)))
            except ConfigError as error:  # nothing was sent
                raise self.shut(error) from None
            except (KeyError, JSONDecodeError, TypeError):  # lightkube's ExecAuth; nothing was sent
                if not self._by_certificate():
                    raise
            except (httpx2.HTTPError, OSError, DecodeError) as error:
                self.away()
                if not twice and not isinstance(error, _UNSENT):
                    raise Unsure from error
                if time.monotonic() - began > (_AWAY if self._has_answered else _AT_FIRST):
                    raise self.unreachable(str(error) or type(error).__name__) from None
                time.sleep(pause)
            else:
                self._has_answered = True
                return answer
            pause = min(pause * 1.6, 5.0)

    def shut(self, error: Exception) -> Refused:
        return Refused(
            f"nobody could be logged in to {self._server}.",
            why=_SAID.sub("", str(error)).strip(),
            next_step="log in to the cluster anew, until kubectl get pods works",
        )

    def unreachable(self, why: str) -> Unreachable:
        return Unreachable(
            f"the cluster's API server, {self._server}, does not answer.", why=why, next_step="kubectl cluster-info"
        )

    def _seconds(self, error: httpx2.HTTPStatusError, *, twice: bool) -> float:
        """How long this answer is not taken for the last; below 0: it is."""
        code = error.response.status_code
        starting = code in (401, 403) and time.monotonic() - self._away < _STARTING
        if code in _BUSY or starting:
            return _AWAY
        return _FAILING if code in _FAILED or (code in (409, 410) and twice and not claims(error)) else -1.0

    def _told(self, error: httpx2.HTTPStatusError) -> Exception:
        code = error.response.status_code
        if isinstance(error, ApiError) and code not in _BUSY:
            return error
        return NoSuchKind() if code == 404 else self.unreachable(f"it says {code}: {error.response.text[:200].strip()}")


def claims(error: httpx2.HTTPStatusError) -> list[tuple[str, str]]:
    """Fields that others have, and what the server says of that: `conflict with "kubectl-edit" using apps/v1`."""
    details = error.status.details if isinstance(error, ApiError) else None
    causes = details.causes if details else None
    return [(str(cause.field), str(cause.message)) for cause in causes or () if cause.reason == "FieldManagerConflict"]


def _asked_for(error: httpx2.HTTPStatusError) -> float:
    """Seconds; it may say a date instead, which nobody does here."""
    said = error.response.headers.get("Retry-After", "")
    return min(float(said), _LONGEST) if said.isdecimal() else 0.0
