"""`http`: the status, the body and the headers of an answer are as they should be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from provision.project.checks.kind import Asked, InImage, Kind, shape
from provision.project.fault import Fault, Path
from provision.project.section import Section
from provision.project.template import Template
from provision.project.values import Text, Whole

if TYPE_CHECKING:
    from provision.agent.checks.http import HttpCheck

_PASSES_IN_CONTAINER = range(200, 400)  # Kubernetes, "Configure Liveness, Readiness and Startup Probes", HTTP probes


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error.msg} at character {(error.pos or 0) + 1}.") from None
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]


class Http(Section):
    http: Text | None = None
    """A path on the service's own port ("/health"), or a whole URL."""
    status: Annotated[tuple[Annotated[Whole, Field(ge=100, le=599)], ...], Field(min_length=1)] = (200,)
    """http: the status codes that pass."""
    body: Pattern | None = None
    """http, batch: a regular expression that must be found in the body."""
    headers: dict[str, Pattern] = Field(default_factory=dict)
    """http: for each header of the answer, a regular expression that must be found in it."""

    @property
    def page(self) -> Template | None:
        """What it asks of the service's own port, if it does."""
        return self.http if self.http and shape(self.http).startswith("/") else None


def address_faults(where: Path, text: Template, has_port: bool | None) -> Iterator[Fault]:
    """What is wrong with a path of the service's own port, or a URL, as it is declared at `where`."""
    if shape(text).startswith("/") and not has_port:
        hint = (
            "Add one to the service, such as port = 8000."
            if has_port is False
            else "Write a whole URL: http://127.0.0.1:${services.NAME.port}/…"
        )
        yield Fault(where, "a path alone needs a port to ask.", hint)
    elif not re.match(r"/|https?://.", shape(text)):
        yield Fault(where, 'expected a path such as "/health", or a URL that begins with http://.')


def address(text: Template, asked: Asked, key: str) -> tuple[str, str]:
    """What stands at `key`, every reference resolved, and as a URL."""
    where = asked.text(text, key)
    return where, asked.address() + where if where.startswith("/") else where


def _faults(path: Path, check: Http, has_port: bool | None) -> Iterator[Fault]:
    if check.http is not None:
        yield from address_faults((*path, "http"), check.http, has_port)


def _document(check: Http, asked: Asked) -> HttpCheck:
    assert check.http is not None  # noqa: S101 (it is of this kind)
    where, url = address(check.http, asked, "http")
    return {
        **asked.document("http", where),
        "url": url,
        "token": asked.token,
        "status": list(check.status),
        "body": check.body or "",
        "headers": check.headers,
    }


def _in_container(check: Http) -> tuple[Literal["http"], tuple[Template]] | None:
    if check.page is None or not set(check.status) <= set(_PASSES_IN_CONTAINER):
        return None
    return "http", (check.page,)


def _asks_more(check: Http) -> bool:
    only_these = check.status != (200,) and set(check.status) != set(_PASSES_IN_CONTAINER)
    return bool(check.body or check.headers or only_these)


KIND = Kind(
    "http",
    _document,
    _faults,
    _in_container,
    _asks_more,
    sends_token=True,
    no_secret=lambda name: (
        "a check's URL is kept in the release and in logs",
        f'Send it as a bearer token: token = "{name}".',
    ),
    keys=("status", "body", "headers"),
)
IN_IMAGE = InImage(
    'a path such as "/v1/models"',
    lambda value: isinstance(value, str) and value.startswith("/"),
    lambda path: {"url": path},
)
