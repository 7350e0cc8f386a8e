"""What a host tells of itself and of a project on it. Types alone."""

from __future__ import annotations

from typing import Dict, List, Optional, TypedDict

from .acme import Tried
from .events import ErrorMessage
from .holder import Holder
from .records import Failed, HistoryEntry, Journaled, OnceRecord, StateDocument
from .release import ReleaseDocument


class Cpu(TypedDict):
    model: str
    features: List[str]
    count: int
    usable: int


class Memory(TypedDict):
    """In bytes; a cgroup's limit counts where it is lower."""

    total: int
    available: int


class Machine(TypedDict):
    hostname: str
    arch: str
    kernel: str
    cpu: Cpu
    memory: Memory
    tools: Dict[str, str]  # name -> path, or empty
    python: str
    user: str
    uid: int
    home: str
    init: str


class _Gpu(TypedDict):
    name: str
    uuid: str
    memory_total: int  # bytes
    memory_free: int
    driver: str


class Gpu(_Gpu, total=False):
    vendor: str  # nvidia, where nothing is said, or amd
    part_of: str  # uuid of the GPU that this one is cut from (MIG); it is not listed itself then


class Disk(TypedDict):
    total: int  # bytes
    free: int


class Restarted(TypedDict):
    """That a program was started again of late, by nobody who deployed."""

    times: int  # within the last ten minutes; of many, the last dozen
    ago: float  # seconds since the last one


class _Seen(TypedDict):
    activity: str
    pid: int
    detail: str  # how it ended
    restarts: int
    memory_bytes: int


class Seen(_Seen, total=False):
    """A program, as it is seen."""

    restarted: Restarted  # where it was asked for, and was
    release: str  # that it was started from, where it finishes on the code of an older one than its state says


class _View(TypedDict):
    programs: Dict[str, Seen]


class ViewFacts(_View, total=False):
    """`decide.View`, as it travels; of a folder that can't be trusted, its programs alone."""

    manifests: Dict[str, str]
    launches: Dict[str, str]
    listening: Dict[str, str]
    memory_available: int
    vram_free: Optional[int]
    gpus: Optional[List[Gpu]]  # None where they were not asked for


class UntrustedFacts(TypedDict):
    path: str
    why: str
    what: str
    next: str


class PreviewNote(TypedDict):
    """What a preview's folder says of it."""

    who: str
    until: Optional[float]  # by the host's clock; None: until somebody removes it
    port: int  # its first one
    ports: int  # how many it has, from that one on


class _Preview(PreviewNote):
    name: str
    expired: bool
    programs: List[str]


class PreviewFacts(_Preview, total=False):
    untrusted: str  # why nothing is believed of what its folder says
    down: Dict[str, str]  # programs that are to run and don't -> how that came, as far as their supervisor knows


class _Project(TypedDict):
    state: StateDocument
    view: ViewFacts
    holder: Optional[Holder]
    journal: Optional[Journaled]
    history: List[HistoryEntry]
    previous: Optional[str]
    releases: List[str]
    models: List[str]  # sha256 of each
    engines: List[str]
    environments: List[str]
    disk: Disk
    recovery_needed: bool


class ProjectFacts(_Project, total=False):
    """One project on one host. What is left out of a folder that can't be trusted is not in the first part."""

    untrusted: UntrustedFacts
    documents: Dict[str, ReleaseDocument]  # without their texts
    files: Dict[str, str]
    speeds: Dict[str, float]  # by who sent models here, bytes a second of the last one
    uploads: Dict[str, int]  # sha256 -> bytes of a model whose upload was cut
    secrets: Dict[str, str]  # name -> keyed digest
    salt: str
    once: List[OnceRecord]  # oldest first; where anything ever ran once
    failed: List[Failed]  # where they were asked for
    previews: List[PreviewFacts]  # beside it, where there are any
    front: List[str]  # what is wrong with the one that projects share, in sentences
    certificates: Dict[str, Tried]  # by service, where any is had over ACME
    occupied: Dict[str, str]  # release -> that it is kept because some process works in it


class Ahead(TypedDict):
    """What stands against bringing a release here."""

    refused: Optional[ErrorMessage]
    takes: List[str]  # programs of somebody else's that are replaced, and where each is described
    measure: bool  # whether the files are needed one by one to tell
    machine: str
    haproxy: str  # sha256 of the wheel of one that has to be brought here first; empty where none has
