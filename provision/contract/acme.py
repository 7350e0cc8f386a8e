"""What a host knows of certificates that it gets by itself. Pure."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Dict, List, Optional, TypedDict

if TYPE_CHECKING:
    from .release import AcmeDocument

TRIED = "tried.json"  # in the folder of certificates: service -> what became of the last try
_FIRST_AGAIN, _LATEST_AGAIN = 300.0, 12 * 3600.0  # seconds; authorities take few failures an hour
_LEFT = 3  # a certificate is renewed when one part in so many of its life is left


class Tried(TypedDict):
    """What a service has, and what became of the last try for it."""

    names: List[str]  # of the certificate that is there, as all down to `until`
    directory: str
    since: float  # 0 for none that an authority gave
    until: float
    asked: List[str]  # the names of the last try
    failed: str  # what was said; empty where it went well
    release: str  # that stable was
    failures: int  # one after another
    again: float  # not before then, as long as all is as it was


def is_due(last: Optional[Tried], declared: AcmeDocument, service: str, release: str, now: float) -> bool:
    """Whether a certificate is to be asked for. After a failure another release is a reason to ask at once."""
    if last is None:
        return True
    if last["failed"] and last["release"] == release and now < last["again"]:
        return False
    if sorted(last["names"]) != sorted(declared["names"][service]) or last["directory"] != declared["directory"]:
        return True
    return now >= last["until"] - (last["until"] - last["since"]) / _LEFT


def given(names: List[str], directory: str, since: float, until: float) -> Tried:
    """That a certificate was given."""
    return Tried(
        names=names,
        directory=directory,
        since=since,
        until=until,
        asked=names,
        failed="",
        release="",
        failures=0,
        again=0.0,
    )


def refused(last: Optional[Tried], names: List[str], release: str, why: str, now: float) -> Tried:
    """That none was given. What is there stays."""
    before = last or given([], "", 0.0, 0.0)
    failures = before["failures"] + 1
    wait = float(min(_FIRST_AGAIN * 2 ** min(failures - 1, 16), _LATEST_AGAIN))
    return {
        **before,
        "asked": names,
        "failed": why or "it says nothing",
        "release": release,
        "failures": failures,
        "again": now + wait,
    }


def complaints(tried: Dict[str, Tried]) -> Dict[str, str]:
    """What went wrong, by service: a sentence each."""
    return {
        service: f"no certificate was given for {', '.join(each['asked'])}: {each['failed'].rstrip('.')}. "
        f"It is asked for again after {time.strftime('%H:%M UTC', time.gmtime(each['again']))}"
        for service, each in sorted(tried.items())
        if each["failed"]
    }
