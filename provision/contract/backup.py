"""What a machine is told about its backup, and what it tells of it."""

from __future__ import annotations

from typing import Dict, List, TypedDict

FOLDER = "/var/lib/deploy-backup"  # for its account alone
PROGRAM = FOLDER + "/backup.py"


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
