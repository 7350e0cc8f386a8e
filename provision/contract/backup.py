"""What a machine is told about its backup, and what it tells of it."""

from __future__ import annotations

from typing import Dict, List, TypedDict

FOLDER = "/var/lib/deploy-backup"  # for its account alone
PROGRAM = FOLDER + "/backup.py"
SEEN = FOLDER + "/seen.json"
LONGEST = 6 * 3600.0  # seconds that one may take


class Config(TypedDict):
    """As the machine keeps it; for nobody else's eyes."""

    owner: str  # of the backup: the machine that may write there now
    root: str  # the target's path
    paths: List[str]  # below it
    every: float  # seconds
    variables: Dict[str, str]  # what rclone is told, keys among it
    passphrase: str
    store: str  # where all of it lies, as rclone calls that
    sha256: str  # of rclone's wheel


class Begun(TypedDict, total=False):
    """What became of bringing it there."""

    fault: str
    machine: str  # as uname(2) calls it
    has_rclone: bool


class Backed(TypedDict, total=False):
    """What became of a backup, or of bringing one back."""

    fault: str
    at: float  # when it was made, in seconds since 1970; 0: there is none
    files: int
    bytes: int
    differ: int  # files of the whole backup that are others now: a later one was cut off


class Seen(TypedDict, total=False):
    """What became of the backups that a machine has made itself, by its own clock; no key is in it."""

    tried: float  # when the last one ended
    every: float  # seconds
    at: float  # when the last one was made that is whole
    fault: str  # why the last one is not


def trouble(seen: Seen, now: float) -> str:
    """What is wrong with a machine's backups; empty where nothing is.

    Args:
        now: by the machine's clock.
    """
    at, fault = seen.get("at", 0.0), seen.get("fault", "")
    last = f"the last one that is whole is {max(now - at, 0) / 60:.0f} minutes old" if at else "no other one is whole"
    if fault:
        return f"the last backup failed: {fault}; {last}"
    if now - seen.get("tried", now) > max(3 * seen.get("every", 0.0), LONGEST):
        return f"no backup is made any more; {last}"
    return ""
