"""What a host keeps as JSON: state, history, and the journal of a transaction that is open. Types alone."""

from __future__ import annotations

from typing import Dict, List, TypedDict

from .bench import Measured
from .peers import PeerDocument
from .rollout import FindingDocument, RolloutNote, RolloutRecord


class _Program(TypedDict):
    service: str
    lane: str
    release: str
    launch: str
    fingerprint: str


class ProgramDocument(_Program, total=False):
    """`state.Program`, as it is written down."""

    slot: str  # where its lane is not at home
    on_demand: bool
    manifest: str
    manifest_sha256: str
    secrets: Dict[str, str]
    devices: List[str]  # the GPUs that it has, by uuid
    stopped: bool  # on purpose


class _State(TypedDict):
    format: int


class StateDocument(_State, total=False):
    """`state.State`, as it is written down: .deploy/state.json."""

    generation: int
    sequence: int
    platform: str
    channels: Dict[str, str]
    programs: Dict[str, ProgramDocument]
    secrets: Dict[str, str]
    version: str
    project: str
    shares: Dict[str, float]  # lane -> the share of the clients that it was given by hand or by a step
    peers: Dict[str, PeerDocument]  # place -> the machine that answers there
    rollout: RolloutRecord


class Noted(TypedDict, total=False):
    """What whoever deployed wants to be written down with a transaction."""

    evidence: List[str]  # digests of the envelopes that allowed it, and that nothing came after
    images: Dict[str, str]  # name and tag as declared -> the digest that it stood for
    services: List[str]  # those that a restart, a start or a stop was asked for by name; empty: all
    bench: Dict[str, Measured]  # by service, what was measured of what came; known at the end alone
    findings: List[FindingDocument]  # that a step of a rollout was taken for
    by_keeper: bool  # nobody else began it; an account may have that name


class _Entry(TypedDict):
    sequence: int
    kind: str
    who: str
    time: int  # seconds since 1970
    transaction: str
    channels: Dict[str, str]  # name -> release
    outcome: str


class _OnceRecord(TypedDict):
    name: str
    release: str
    outcome: str  # as `once` names them
    why: str
    time: int  # seconds since 1970
    transaction: str


class OnceRecord(_OnceRecord, total=False):
    """What became of a command that runs once a release."""

    host: str  # where it ran, if that was another one of the target's


class HistoryEntry(_Entry, Noted, total=False):
    """One committed transaction."""

    took_over: List[str]  # programs of somebody else's, by name
    once: Dict[str, str]  # what ran once for this release, in this transaction -> how it ended
    shares: Dict[str, float]  # as of the state, where that changed
    rollout: RolloutNote  # what it did to one, where it did
    project: str
    taken_from: str  # the project whose place this one took


class _Taken(TypedDict):
    name: str
    path: str  # of the file that describes it


class Taken(_Taken, total=False):
    """A program that somebody else's configuration starts, taken over by a target that says so."""

    before: str  # sha256 of that file, with it and without
    after: str
    ran: bool
    enabled: bool  # whether it starts with the host


class Failed(TypedDict):
    """A transaction, or what went before it, that did not commit."""

    kind: str
    who: str
    time: int  # seconds since 1970, when it began
    transaction: str
    channels: Dict[str, str]  # name -> release, as it would have been
    outcome: str  # failed (nothing was disturbed), put back, interrupted, degraded
    why: str


class _Begin(TypedDict):
    step: str
    kind: str
    who: str
    transaction: str
    agent: str  # digest of the agent that writes it: it alone knows for sure what its lines mean
    time: float  # seconds since 1970
    before: StateDocument
    after: StateDocument
    running: Dict[str, List[int]]  # program -> pid and start time
    boot: str
    candidates: Dict[str, str]  # program -> manifest


class Begin(_Begin, Noted, total=False):
    """The first line of a journal: everything that putting back, or finishing, goes by."""

    taken: List[Taken]
    behind: List[str]  # programs of before that end once the new state is committed


class _Line(TypedDict):
    step: str


class Line(_Line, total=False):
    """Another line of a journal: how far it got."""

    programs: List[str]
    why: str
    name: str  # of a command that runs once
    release: str  # that declares it
    outcome: str


class _Begun(TypedDict):
    kind: str
    who: str
    time: float
    transaction: str


class Begun(_Begun, Noted, total=False):
    """Of a journal's first line, what is told."""


class Journaled(TypedDict):
    """A journal, as it is told of."""

    begin: Begun
    step: str
    why: str


class Processes(TypedDict):
    """Which process each program was when it was proven."""

    boot: str
    programs: Dict[str, List[int]]  # pid and start time
