"""`batch`: work that the API accepts is done, by the worker that the API starts for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from provision.project.checks import http
from provision.project.checks.http import address, address_faults
from provision.project.checks.kind import Asked, Kind
from provision.project.fault import Fault, Path
from provision.project.section import Section
from provision.project.values import String, Text

if TYPE_CHECKING:
    from provision.agent.checks.batch import BatchCheck
    from provision.project.checks import Check


class Batch(Section):
    batch: Text | None = None
    """Where work is handed in: a path on the service's own port ("/batch"), or a whole URL. The answer has to be 202,
    and its Location is asked until it says something else: 200, and the result."""
    send: String | None = None
    """batch: the work, as JSON."""


def _faults(path: Path, check: Check, has_port: bool | None) -> Iterator[Fault]:
    if check.batch is not None:
        yield from address_faults((*path, "batch"), check.batch, has_port)
    if check.send is None:
        yield Fault((*path, "batch"), "it says no work to do.", """Add it as JSON: send = '{"prompts": ["Hello"]}'""")
        return
    try:
        json.loads(check.send)
    except ValueError as error:
        yield Fault((*path, "send"), f"not JSON: {error}.")


def _document(check: Check, asked: Asked) -> BatchCheck:
    assert check.batch is not None and check.send is not None  # noqa: S101 (it is of this kind, and judged)
    where, url = address(check.batch, asked, "batch")
    return {
        **asked.document("batch", where),
        "url": url,
        "token": asked.token,
        "send": check.send,
        "body": check.body or "",
    }


KIND = Kind(
    "batch",
    _document,
    _faults,
    asks_more=lambda _: True,
    sends_token=True,
    wakes=True,
    no_secret=http.KIND.no_secret,
    keys=("send", "body"),
)
