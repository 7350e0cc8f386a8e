"""What a host answers at last to each request. Types alone."""

from __future__ import annotations

from typing import Dict, List, Literal, Optional, TypedDict

from .events import Checked
from .evidence import Kept
from .facts import Ahead, Gpu, Machine, ProjectFacts
from .records import Holder


class Done(TypedDict):
    event: Literal["result"]


class Facts(Done, total=False):
    """Each is there where it was asked for."""

    host: Machine
    gpus: List[Gpu]
    project: ProjectFacts
    ahead: Ahead
    supervisor: Dict[str, object]


class _Transacted(Done):
    outcome: str  # committed, unchanged; or mismatch: what was uploaded is not what was to be sealed


class Transacted(_Transacted, total=False):
    generation: int
    channels: Dict[str, str]
    sequence: int
    seconds: float
    waited: Dict[str, float]  # program -> seconds in which nobody answered at its port
    did: Dict[str, str]  # program -> what was done to it, as a step says
    entries: Dict[str, str]  # of a mismatch: what is there, path -> digest


class Folder(Done):
    folder: str


class Present(Done):
    present: bool  # before


class EngineFolder(Folder):
    machine: str
    have: bool  # another engine has the same wheel


class HaproxyFolder(Folder):
    machine: str


class EnvironmentFolder(Folder):
    machine: str
    have: bool  # uv is there


class PythonFound(Done):
    machine: str
    libc: str  # its name and version, as confstr(3) has it; empty where that is not known
    version: str  # of the Python that an environment will have


class Recovered(Done):
    outcome: Optional[str]


class Unlocked(Recovered):
    holder: Optional[Holder]


class Probed(Done):
    check: Checked


class EvidenceKept(Done):
    releases: Dict[str, Kept]


class Down(Done):
    outcome: str
    programs: List[str]


class Mended(Done):
    closed: List[str]
    aside: Dict[str, str]  # what was there -> where it is now
    ended: List[str]
    trusted: bool


class Logs(Done):
    logs: Dict[str, List[str]]  # by program
    untimed: List[str]  # programs whose lines tell no time, so that older ones may be among them
