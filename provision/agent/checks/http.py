"""Probe of `http`: the status, the body and the headers of an answer."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .check import Failed

if TYPE_CHECKING:
    from typing import Dict, List

    from ...contract.checks import CheckDocument
    from ...contract.events import Facts
    from .check import Reach

    class HttpCheck(CheckDocument):
        url: str
        token: str  # the secret to send as a bearer token, by its name; or empty
        status: List[int]
        body: str  # regular expression, or empty
        headers: Dict[str, str]  # name -> regular expression


def attempt(check: HttpCheck, reach: Reach, seconds: float) -> Facts:
    answer = reach.ask(check["url"], seconds)
    if not answer.status:
        return {"bytes": len(answer.text)}
    if answer.status not in check["status"] and (location := answer.headers.get("location")):
        raise Failed(f"HTTP {answer.status} to {location[:200]}")
    if answer.status not in check["status"]:
        raise Failed(f"HTTP {answer.status} {answer.gist}".rstrip())
    pattern = check.get("body")
    if pattern and not re.search(pattern, answer.text):
        raise Failed(f"HTTP {answer.status}, but the body does not match {pattern!r}: {answer.gist}")
    for name, wanted in check.get("headers", {}).items():
        got = answer.headers.get(name.lower())
        if got is None or not re.search(wanted, got):
            raise Failed(f"header {name} is {got!r}, expected a match of {wanted!r}")
    return {"status": answer.status}
