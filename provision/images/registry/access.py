"""Requests that a registry lets through: the token flow, Basic, and what a refusal means.

The distribution project's "Token Authentication Specification": the 401 names a token service and a scope, the service
gives a token for `repository:NAME:pull,push`, and a 401 later means that it has expired. An identity token is traded by
OAuth2's refresh grant instead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from provision.connections import Answer, Body
from provision.errors import Refused, RegistryFailed
from provision.images.registry.challenge import Challenge, challenges
from provision.images.registry.credentials import Credentials
from provision.images.registry.documents import read_json
from provision.images.registry.wire import Wire, joined

_LONGEST_ANSWER = 1 << 20  # of a token service, or an error
_TOKEN_SECONDS = 60.0  # of a token whose service does not say how long it is good
_CLIENT = "bitnet-provision"


class Access:
    """One registry, and who we are to it; safe to use from several threads.

    Args:
        scopes: what the tokens are for, `repository:NAME:pull,push`.
    """

    def __init__(self, wire: Wire, credentials: Credentials | None, scopes: Collection[str]) -> None:
        self._wire = wire
        self._credentials = credentials
        self._scopes = list(scopes)
        self._authorization = ""
        self._ends = 0.0  # when that runs out; 0: it does not
        self._lock = threading.Lock()  # who is the second to be asked who we are takes the first one's answer

    @property
    def authority(self) -> str:
        return self._wire.authority

    @property
    def shown(self) -> tuple[str, float]:
        """What opens the registry to who comes next, and when that runs out, by time.time(); 0: it does not."""
        return self._authorization, self._ends

    def address(self, path: str) -> str:
        """The whole address of a path below the registry, once it was asked something."""
        return joined(self._wire.base, path)

    def ask_also(self, scope: str) -> None:
        """Tokens are for `scope` too from now on."""
        if scope not in self._scopes:
            self._scopes.append(scope)
            self._authorization = "" if self._authorization.startswith("Bearer ") else self._authorization

    def request(
        self,
        method: str,
        path: str,
        *,
        doing: str,
        accept: Collection[int],
        headers: Mapping[str, str] | None = None,
        body: Body = None,
    ) -> Answer:
        """One request; its answer if the status is one of `accept`.

        Args:
            path: below the registry, or a whole address that the registry gave.
            doing: what for, as the end of "could not …".

        Raises:
            RegistryFailed: any other status, or no answer.
            Refused: the registry does not let us.
        """
        # An upload may be sent elsewhere; what opens the registry is not shown there.
        ours = urlsplit(joined(self._wire.base, path)).netloc == self.authority
        shown = self._authorization
        answer = self._wire.send(method, path, headers=_headers(headers, shown if ours else ""), body=body)
        if answer.status == 401 and ours:
            with self._lock:
                if self._authorization == shown:
                    self._authorize(answer, doing)
            if body is None or isinstance(body, bytes):
                answer.drop()
                sent = _headers(headers, self._authorization)
                answer = self._wire.send(method, path, headers=sent, body=body)
        if answer.status in accept:
            return answer
        raise self._refusal(answer, doing)

    def _authorize(self, answer: Answer, doing: str) -> None:
        asked = answer.headers.get("www-authenticate", "")
        offered = {challenge.scheme: challenge for challenge in challenges(asked)}
        answer.read(_LONGEST_ANSWER)
        if "bearer" in offered:
            self._authorization = f"Bearer {self._token(offered['bearer'], doing)}"
        elif "basic" in offered and self._credentials and self._credentials.user:
            self._authorization = self._credentials.basic
        elif "basic" in offered:
            raise self._login(f"could not {doing}: {self.authority} wants a login.")

    def _token(self, challenge: Challenge, doing: str) -> str:
        realm = joined(self._wire.base, challenge.parameters.get("realm", ""))
        service = challenge.parameters.get("service", "")
        scopes = list(dict.fromkeys([*challenge.parameters.get("scope", "").split(), *self._scopes]))
        who = self._credentials
        if who and not who.user:
            form = {"grant_type": "refresh_token", "refresh_token": who.secret, "client_id": _CLIENT}
            answer = self._wire.send(
                "POST",
                realm,
                headers={"Content-Type": "application/x-www-form-urlencoded", "User-Agent": _CLIENT},
                body=urlencode({**form, "service": service, "scope": " ".join(scopes)}).encode(),
            )
        else:
            query = urlencode([("service", service), *(("scope", scope) for scope in scopes)])
            headers = {"Authorization": who.basic} if who else {}
            joint = "&" if urlsplit(realm).query else "?"
            answer = self._wire.send("GET", f"{realm}{joint}{query}", headers={"User-Agent": _CLIENT, **headers})
        content = answer.read(_LONGEST_ANSWER)
        if answer.status != 200:
            raise self._login(f"could not {doing}: {urlsplit(realm).netloc} gave no token ({answer.status}).")
        try:
            given = read_json(content)
            self._ends = time.time() + float(given.get("expires_in") or _TOKEN_SECONDS)
            return str(given.get("token") or given["access_token"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RegistryFailed(f"could not {doing}: {urlsplit(realm).netloc} answered, but with no token.") from None

    def _login(self, what: str) -> Refused:
        why = "No credentials were found in REGISTRY_TOKEN or ~/.docker/config.json."
        if who := self._credentials:
            why = f"Tried as {who.user or 'an identity token'}, from {who.source}."
        return Refused(
            what,
            why=why,
            next_step=f"docker login {self.authority}, or set REGISTRY_TOKEN",
            details={"status": 401},
        )

    def _refusal(self, answer: Answer, doing: str) -> RegistryFailed | Refused:
        said = _said(answer.read(_LONGEST_ANSWER))
        details = {"status": answer.status}
        if answer.status == 401:
            return self._login(f"could not {doing}: {self.authority} refused the login.")
        if answer.status == 403:
            who = self._credentials.user if self._credentials else "anonymous"
            return Refused(
                f"could not {doing}: {self.authority} does not allow it to {who}.",
                why=said,
                next_step="ask for the permission, or log in as somebody who has it",
                details=details,
            )
        if answer.status == 429:
            wait = answer.headers.get("retry-after")
            return RegistryFailed(
                f"could not {doing}: {self.authority} has too many requests, again and again.",
                why=said,
                next_step=f"try again {'after ' + _when(wait) if wait else 'later'}",
                details=details,
            )
        return RegistryFailed(
            f"could not {doing}: {self.authority} answered {answer.status}.", why=said, details=details
        )


def _headers(headers: Mapping[str, str] | None, authorization: str) -> dict[str, str]:
    own = {"Authorization": authorization} if authorization else {}
    return {"User-Agent": _CLIENT, **(headers or {}), **own}


def _when(retry_after: str) -> str:
    return f"{retry_after} s" if retry_after.isdigit() else retry_after


def _said(content: bytes) -> str:
    """What the registry says of an error, in its own words; their form is in the distribution specification."""
    try:
        errors: list[dict[str, Any]] = read_json(content)["errors"]
        return "; ".join(f"{error.get('code', '')}: {error.get('message', '')}" for error in errors)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
