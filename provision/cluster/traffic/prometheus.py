"""What a Prometheus is asked by its HTTP API, with the token and by the authority that its target names.

A token goes to that address alone, in a header: no redirect is followed, and no error, log or argument has it. It is
looked for when somebody first asks, so that no verb needs it that asks nothing.
"""

from __future__ import annotations

import json
import re
import ssl
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provision.errors import Refused, Unreachable, UsageError
from provision.project.secret_values import value_of
from provision.project.secrets import Secret

if TYPE_CHECKING:
    from provision.project.loaded import LoadedProject
    from provision.project.rollout import Rollout

_SECONDS = 30.0  # of one question
_LARGEST = 64 << 20  # bytes of an answer
_CARRIED = re.compile(r"[\x21-\x7e]+")  # what a header can hold; RFC 6750 allows less, and those who check say so
_LOGIN, _FORBIDDEN = 401, 403


@dataclass(frozen=True)
class Prometheus:
    """The one that a target names.

    Args:
        target: its name.
    """

    loaded: LoadedProject
    target: str

    @cached_property
    def url(self) -> str:
        """Where it is.

        Raises:
            UsageError: the target names none.
        """
        if url := self._said.prometheus:
            return url.rstrip("/")
        raise UsageError(
            "nobody here counts what users see.", next_step=f"add prometheus to [targets.{self.target}.rollout]"
        )

    def now(self) -> float:
        """Its clock."""
        return float(self.ask("time()")["result"][0])

    def ask(self, query: str, time: float | None = None) -> dict[str, Any]:
        """Its data for a query of PromQL.

        Raises:
            Unreachable: it does not answer.
            Refused: it does not let us ask.
            UsageError: it does not take the query, or what is declared is not there.
        """
        import httpx2

        form = {"query": query, **({} if time is None else {"time": f"{time:.3f}"})}
        url = f"{self.url}/api/v1/query"
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            with (
                httpx2.Client(timeout=_SECONDS, verify=self._authority) as client,
                client.stream("POST", url, data=form, headers=headers) as answer,
            ):
                if answer.status_code in (_LOGIN, _FORBIDDEN):
                    raise self._not_let_in(answer.status_code)
                text = b""
                for part in answer.iter_bytes():
                    text += part
                    if len(text) > _LARGEST:
                        raise self._away("its answer is larger than 64 MiB: let the selectors name fewer series")
            said = json.loads(text)
            if said["status"] != "success":
                raise UsageError(
                    f"Prometheus does not take rollout.figures: {self._without_token(said.get('error'))}",
                    why=query,
                    next_step="correct it in deploy.toml",
                )
            return dict(said["data"])
        except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
            raise self._away(str(error) or type(error).__name__) from None

    def _without_token(self, told: object) -> str:
        """Whatever stands before it may tell what it was sent."""
        return str(told).replace(self._token, "…") if self._token else str(told)

    @property
    def _said(self) -> Rollout:
        return self.loaded.project.targets[self.target].rollout

    @property
    def _key(self) -> str:
        return f"targets.{self.target}.rollout"

    @cached_property
    def _token(self) -> str:
        """Nothing, where none is declared.

        Raises:
            UsageError: it is not known here, or no header can carry it.
        """
        name = self._said.prometheus_token
        if not name:
            return ""
        value = value_of(self.loaded, name, f"{self._key}.prometheus_token").strip()
        if not _CARRIED.fullmatch(value):
            raise UsageError(
                f"{self._key}.prometheus_token: what {name} holds is no token.",
                why="A header carries it, so it is one line of ASCII without blanks.",
                next_step=f"correct {name} where it is set",
            )
        return Secret(value)

    @cached_property
    def _authority(self) -> ssl.SSLContext | bool:
        """What its certificate is judged by.

        Raises:
            UsageError: the file is not there, or is none of certificates.
        """
        said = self._said.prometheus_ca
        if not said:
            return True
        try:
            return ssl.create_default_context(cafile=self.loaded.root / Path(said).expanduser())
        except OSError as error:  # ssl.SSLError is one
            why = "It holds no certificate in PEM." if isinstance(error, ssl.SSLError) else str(error.strerror)
            raise UsageError(
                f"{self._key}.prometheus_ca: {said} can't be read.",
                why=why,
                next_step="name the file of the authority that signed Prometheus' certificate",
            ) from None

    def _not_let_in(self, status: int) -> Refused:
        name = self._said.prometheus_token
        if not name:
            return Refused(
                f"Prometheus at {self.url} wants to know who asks ({status}).",
                why=f"{self._key} names no prometheus_token.",
                next_step=f'add prometheus_token = "NAME" to [{self._key}], and NAME=… to .env',
            )
        does = "does not know it" if status == _LOGIN else "does not let it ask"
        return Refused(
            f"{self._key}.prometheus_token: Prometheus at {self.url} {does} ({status}).",
            why=f"Its value is what {name} holds here.",
            next_step=f"put a token that may query into {name}, in .env or where it comes from",
        )

    def _away(self, why: str) -> Unreachable:
        if "CERTIFICATE_VERIFY_FAILED" in why:
            return Unreachable(
                f"Prometheus at {self.url} has a certificate that nothing here trusts.",
                why=why,
                next_step=f"name its authority's file in {self._key}.prometheus_ca; the share stays meanwhile",
            )
        return Unreachable(
            f"Prometheus does not answer at {self.url}.",
            why=why,
            next_step="kubectl port-forward to it, where it is in the cluster; the canary keeps its share meanwhile",
        )
