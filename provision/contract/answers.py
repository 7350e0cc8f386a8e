"""What a host answers at last to each request. Types alone."""

from __future__ import annotations

from typing import Dict, List, Literal, Optional, TypedDict

from .events import Checked, Held
from .evidence import Kept
from .facts import Ahead, Gpu, Machine, ProjectFacts
from .holder import Holder
from .lent import Lender
from .rollout import RolloutRecord
from .seen import RolloutSeen, ServiceTraffic


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
    held: Dict[str, Held]  # program -> what requests for it waited for, where they waited in front of it
    did: Dict[str, str]  # program -> what was done to it, as a step says
    entries: Dict[str, str]  # of a mismatch: what is there, path -> digest
    shares: Dict[str, float]  # as the state has them then, of what changes or may change them
    rollout: Optional[RolloutRecord]


class Folder(Done):
    folder: str


class Present(Done):
    present: bool  # before


class Lent(Done):
    lender: Lender  # this host, as others find it


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


class Introduced(Done):
    certificate: str  # PEM


class Recovered(Done):
    outcome: Optional[str]


class Unlocked(Recovered):
    holder: Optional[Holder]


class Probed(Done):
    check: Checked


class EvidenceKept(Done):
    releases: Dict[str, Kept]


class KeptModel(TypedDict):
    """A model that a host has."""

    sha256: str
    names: List[str]
    bytes: int
    releases: List[str]  # on the host, that have it
    serves: bool  # whether one of them does now
    last: float  # when the last of them was replaced; 0.0: none was
    damaged: bool  # what was asked for alone


class KeptModels(Done):
    models: List[KeptModel]
    removed: List[KeptModel]


class Down(Done):
    outcome: str
    programs: List[str]


class Mended(Done):
    closed: List[str]
    aside: Dict[str, str]  # what was there -> where it is now
    ended: List[str]
    front: List[str]  # what was wrong with the front that projects share, in sentences
    trusted: bool


class Logs(Done):
    logs: Dict[str, List[str]]  # by program
    untimed: List[str]  # programs whose lines tell no time, so that older ones may be among them


class Traffic(Done):
    """Who gets what, and how that went."""

    keeper: str  # here; silent: it runs, or should, and does not answer; none: an earlier version deployed
    generation: int
    at: float  # the host's clock, in seconds since 1970
    since: float  # of the figures; less than what was asked for where nobody has counted for so long
    services: Dict[str, ServiceTraffic]  # those that requests come to
    rollout: Optional[RolloutSeen]  # that is under way, or the last one while its release is here
