"""Probe of `batch`: work is accepted, and done by whoever does it.

RFC 9110, section 15.3.3: 202 points to where the work's state is. That is asked for as long as it says 202 itself.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from .check import Failed

if TYPE_CHECKING:
    from ...contract.checks import CheckDocument
    from ...contract.events import Facts
    from .check import Reach

    class BatchCheck(CheckDocument):
        url: str
        token: str  # as for http
        send: str  # JSON
        body: str  # regular expression of the result, or empty


_PAUSE = 0.2


def attempt(check: BatchCheck, reach: Reach, seconds: float) -> Facts:
    began = time.monotonic()
    accepted = reach.ask(check["url"], seconds, check["send"].encode("utf-8"))
    at = accepted.headers.get("location", "")
    if accepted.status != 202 or not at:
        what = "without a Location" if accepted.status == 202 else accepted.gist
        raise Failed(f"HTTP {accepted.status} {what}; expected 202 and where its state is".replace(" ;", ";"))
    state = _address(check["url"], at)
    while True:
        left = seconds - (time.monotonic() - began)
        if left <= 0:
            raise Failed(
                f"not done in {seconds:.0f} s; what was said when it was accepted: {accepted.text.strip()[:300]}"
            )
        answer = reach.ask(state, left)
        if answer.status != 202:
            break
        time.sleep(_PAUSE)
    if answer.status != 200:
        raise Failed(f"done, with HTTP {answer.status} {answer.gist}".rstrip())
    pattern = check.get("body")
    if pattern and not re.search(pattern, answer.text):
        raise Failed(f"done, but the result does not match {pattern!r}: {answer.gist}")
    return {"seconds": round(time.monotonic() - began, 3), "accepted": accepted.text.strip()[:400]}


def _address(url: str, at: str) -> str:
    """Where the state of what `url` took is, by the service's word."""
    try:
        at.encode("ascii")
        state = urljoin(url, at)
        there = urlsplit(state)[:2]
    except ValueError:
        raise Failed(f"its state is at no address: {at!r}") from None
    if there != urlsplit(url)[:2]:
        raise Failed(f"its state is elsewhere: {state}")
    return state
