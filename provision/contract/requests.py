"""What a host is asked, a JSON line each. Types alone."""

from __future__ import annotations

from typing import Dict, List, Literal, Optional, Tuple, TypedDict, Union

from .bringing import (
    AdoptEngine,
    AdoptModel,
    BuildEnvironment,
    Discard,
    FetchModel,
    Incoming,
    IncomingEngine,
    IncomingEnvironment,
    KeepModels,
    ShipHaproxy,
)
from .checks import CheckDocument
from .lent import LendModel, LendOver
from .peers import ChangePeers, Introduce
from .records import Noted
from .release import EngineDocument, PinnedWheel, ReleaseDocument
from .rollout import RolloutAsked, SteerRollout, Weigh


class _Header(TypedDict):
    path: str  # the project's folder
    agent: str  # digest
    who: str
    version: str  # of the toolkit
    install: bool  # whether the agent stays on the host
    project: str
    take_over: str  # the project whose place this one takes; or empty
    heartbeat: float  # how often to say, in seconds, that a request is not forgotten


class Header(_Header, total=False):
    """The first line of a conversation."""

    pending: List[Request]  # on the host: what came before this agent did


class SupervisorOptions(TypedDict, total=False):
    """How a supervisor is found, where the target says so."""

    config: str
    user_units: bool
    take_over: List[str]  # programs that somebody else's configuration starts there, and that are taken over


class FileCount(TypedDict):
    bytes: int
    count: int


class _AheadQuestion(TypedDict):
    project: str
    channel: str
    keep: int
    nonce: str
    release: str
    document: ReleaseDocument  # without its texts
    files: FileCount


class AheadQuestion(_AheadQuestion, total=False):
    """Whether a release could be brought here."""

    entries: List[Tuple[str, int, int]]  # path, bytes and time of each file
    haproxy: Dict[str, PinnedWheel]  # by kind of machine; of a release with traffic


class Wanted(TypedDict, total=False):
    """What facts are wanted besides the project's."""

    claim: bool  # keep others from deploying this project while this conversation lives
    outside: bool  # also where the folder can't be trusted
    standing: bool  # also restarts of late, and deploys that did not commit
    host: bool
    gpus: bool
    ahead: AheadQuestion
    nonce: str  # of the upload that a claim is for
    documents: List[str]  # channels, `previous`, or beginnings of ids of releases
    have: List[str]  # releases whose documents are known
    files_of: Optional[str]  # the channel whose files are to be told
    engines: Dict[str, EngineDocument]


class FactsRequest(Wanted):
    op: Literal["facts"]
    platform: str
    supervisor: SupervisorOptions


class Seal(TypedDict):
    """An upload is to become a release."""

    nonce: str
    release: str
    document: ReleaseDocument
    remove: List[str]  # paths of an earlier upload that must go
    secrets: Dict[str, str]  # for the prepare step; kept nowhere


class SealRequest(Seal):
    op: Literal["seal"]


class SecretValue(TypedDict, total=False):
    value: str


class _PlannedStep(TypedDict):
    program: str
    service: str
    lane: str
    do: str
    how: str
    why: str


class PlannedStep(_PlannedStep, total=False):
    """`steps.Step`, as it travels."""

    devices: List[str]


class _Transaction(TypedDict):
    op: Literal["transaction"]
    kind: str  # up, promote, rollback, down; restart, start, stop
    channel: str
    release: str
    generation: Optional[int]  # the host's, that the plan is for
    steps: Optional[List[PlannedStep]]  # None where what has to be done may differ from the plan
    secrets: Dict[str, SecretValue]  # those whose value is new
    platform: str
    supervisor: SupervisorOptions
    logins: Dict[str, str]  # by registry
    gpus: bool
    keep: int


class OnceAsked(TypedDict):
    """What is asked about commands that run once a release."""

    runner: str  # the host that runs them, where it is another one; else empty
    again: List[str]  # those to run although they have run
    done: List[str]  # those that somebody knows to be done
    secrets: Dict[str, Dict[str, str]]  # of those to run here; kept for the length of the transaction


class TransactionRequest(_Transaction, Noted, total=False):
    seal: Seal
    once: OnceAsked
    whole: bool  # prove what is kept as it runs as well
    programs: List[str]  # those that a restart, a start or a stop is of
    share: float  # of an `up` of a canary: the share of the clients that it is given, 0.05 is five of a hundred
    rollout: RolloutAsked  # of an `up` of a canary: the rollout that begins with it
    abort_rollout: bool  # of an `up`: end the rollout that is under way, instead of being refused


class Preview(TypedDict):
    """The project at this path is a preview."""

    op: Literal["preview"]
    seconds: Optional[float]  # how long from now on; None: what was said before holds
    port: int
    ports: int
    models: List[str]  # sha256 of those that it needs, which the project itself may have
    engines: List[str]


class ForgetPreview(TypedDict):
    """Remove the folder of a preview that has ended."""

    op: Literal["forget-preview"]
    name: str


class Unlock(TypedDict):
    op: Literal["unlock"]
    yes: bool


class ReadEvidence(TypedDict):
    op: Literal["evidence"]
    releases: List[str]  # empty: all that are on the host


class KeepEvidence(TypedDict):
    op: Literal["keep-evidence"]
    release: str
    signed: List[str]


class Probe(TypedDict):
    op: Literal["probe"]
    check: CheckDocument
    channel: str
    program: str


class Outside(TypedDict):
    """What is done although nothing in the folder can be believed."""

    op: Literal["down-outside", "mend"]
    outside: bool
    platform: str
    supervisor: SupervisorOptions


class Logs(TypedDict):
    op: Literal["logs"]
    outside: bool
    platform: str
    supervisor: SupervisorOptions
    programs: List[str]
    lines: int  # of each, the last ones
    ago: float  # seconds: nothing that is older; 0 for whatever there is


class _ReadTraffic(TypedDict):
    op: Literal["traffic"]
    minutes: int  # the last ones, whose figures are wanted


class ReadTraffic(_ReadTraffic, total=False):
    """Who gets what, and how that went."""

    points: int  # how many the lanes' series may have, of the same minutes; 0, or left out: none is wanted


class Stop(TypedDict):
    """Said while a request is being worked on: put everything back, or go on alone."""

    op: Literal["abort", "detach"]


Request = Union[
    FactsRequest,
    TransactionRequest,
    SealRequest,
    Incoming,
    Preview,
    ForgetPreview,
    Discard,
    AdoptModel,
    FetchModel,
    LendModel,
    LendOver,
    KeepModels,
    IncomingEngine,
    AdoptEngine,
    ShipHaproxy,
    IncomingEnvironment,
    BuildEnvironment,
    Unlock,
    ReadEvidence,
    KeepEvidence,
    Probe,
    Outside,
    Logs,
    ReadTraffic,
    Weigh,
    SteerRollout,
    Introduce,
    ChangePeers,
    Stop,
]
