"""The shape of `release.json`, which a host works from. Types alone; plain JSON."""

from __future__ import annotations

from typing import Dict, List, Optional, TypedDict, Union

from .checks import CheckDocument


class Idle(TypedDict):
    """How to see, before a program is stopped, that no request is in flight: all of these gauges are 0."""

    seconds: float  # how long that may take
    port: int
    path: str
    gauges: List[str]
    token: str  # the secret to send as a bearer token, by its name; or empty


class _Needs(TypedDict):
    memory_bytes: int
    vram_bytes: int
    cpus: float


class Needs(_Needs, total=False):
    """What preflight compares with what the host has free; 0 where nothing is declared."""

    gpus: int  # that it has to itself
    gpu_fraction: float  # of one that it shares


class Manifest(TypedDict):
    name: str  # of the file
    text: str


class _Service(TypedDict):
    name: str
    program: str  # as the supervisor knows it
    fingerprint: str
    after: List[str]  # services of the same lane that are proven before this one starts
    binary: str  # relative to the release, or absolute; empty where none is declared
    model: str  # in the release: a key of the document's `models`, or a folder; absolute: the host's own; or empty
    on_demand: bool
    prove: bool
    on_switch: str
    switch: str
    user: str
    starts: List[str]  # services on demand that its account may start through deploy-ctl
    ports: List[int]
    secrets: List[str]  # names alone
    secret_files: List[str]  # those among them that it gets as files
    checks: List[CheckDocument]
    drain: float
    idle: Optional[Idle]  # None too where the supervisor itself waits, as systemd does
    stop_timeout: float  # from the polite signal to the hard one, `drain` included
    needs: Needs
    launch: str
    manifest: Manifest


class TokensDocument(TypedDict):
    """Where an engine tells how many tokens it made, at its own port (`llamacpp:tokens_predicted_total`)."""

    path: str
    token: str  # the secret to send as a bearer token, by its name; or empty


class _Entry(TypedDict):
    kind: str  # module, run (as python -m does), script, command
    name: str
    python: str  # that the command names; empty where a program of the environment runs it


class EntryDocument(_Entry, total=False):
    """With which module a service begins."""

    env: Dict[str, str]  # the service's own, without secrets


class ServiceDocument(_Service, total=False):
    entry: EntryDocument  # where the project says what its Python has
    slot: str  # where it is not the one that its lane is at home in: of a second copy and further ones
    tokens: TokensDocument  # of an engine that requests come to
    draft: str  # a second model, said as `model` is
    mmproj: str  # what lets the model see, said likewise


class PublicDocument(TypedDict):
    """Where strangers come in to a service, and what they may do there: its `proxy`, behind what stands before it."""

    port: int  # at every address of the host
    names: List[str]  # host names; empty for every name
    certificate: str  # absolute; empty where it speaks no TLS
    certificate_key: str
    timeout: float  # seconds
    body: int  # bytes
    rate: int  # a second of one client address; 0 for any number, as of connections
    connections: int
    headers: Dict[str, str]
    health: str  # a path that may be asked as often as one likes
    metrics: str  # a path that is nobody's here; empty for none


class _Fronted(TypedDict):
    port: int  # the declared one, where they come in
    mode: str  # "http", or "tcp": what is said over its connections is nobody's business
    drain: float  # seconds that what one has begun may take, before its program is stopped


class FrontedDocument(_Fronted, total=False):
    """A service that requests get to through what stands before the programs."""

    public: PublicDocument  # where it has a proxy
    behind: str  # the target whose machines answer for it; no program here does
    timeout: float  # where it has no proxy here: seconds that either side may be silent, if another than the usual


class _Traffic(TypedDict):
    listen: str  # an address of the host
    hold: float  # seconds that a request waits at most where a program is replaced in place
    hold_requests: int  # so many at the same time
    canary: int  # percent of the clients that come to it, while it is one
    services: Dict[str, FrontedDocument]


class AcmeDocument(TypedDict):
    """An authority that gives certificates, and for what. They lie where the services' own documents say."""

    directory: str  # where it begins: an address
    email: str  # whom it may write to; empty for nobody
    ca: str  # what its own certificate is judged by: a file of the host; empty for what the host trusts
    names: Dict[str, List[str]]  # service -> those that its certificate is for


class BehindDocument(TypedDict):
    """The machines of another target, which answer for services of this front."""

    name: str  # that their certificates are for
    places: int  # for so many
    repeat: bool  # whether any request is asked of another one where a machine breaks off before its answer


class TrafficDocument(_Traffic, total=False):
    """What stands before the programs of a host."""

    acme: AcmeDocument  # where some service's certificate comes from there
    metrics: int  # the port of 127.0.0.1 at which it tells Prometheus what it sees; where it does
    behind: Dict[str, BehindDocument]  # by target, where machines answer
    admits: str  # where another host's front leads here: what the certificate is for, at ports that admit it alone


class LaneDocument(TypedDict):
    services: List[ServiceDocument]  # in the order in which they start
    checks: List[CheckDocument]  # of the whole project


class ModelDocument(TypedDict):
    sha256: str
    bytes: int
    tensor_types: List[str]
    architecture: str


class PinnedWheel(TypedDict):
    """One file of the package index."""

    file: str
    sha256: str
    bytes: int


class Wheel(PinnedWheel):
    """One that holds an engine, for one kind of machine."""

    unpacked: int  # bytes of what is taken out of it
    features: List[str]  # of the processor, as /proc/cpuinfo names them, without which it does not run


class EngineDocument(TypedDict):
    package: str
    version: str
    wheels: Dict[str, Wheel]  # by kind of machine, as uname(2) calls it


class SecretPart(TypedDict):
    secret: str


class _Command(TypedDict):
    command: List[str]
    timeout: float  # seconds
    secrets: List[str]  # names alone; those of variables made of secrets as well
    env: Dict[str, str]


class CommandDocument(_Command, total=False):
    """A command that a deploy runs itself."""

    env_of_secrets: Dict[str, List[Union[str, SecretPart]]]  # what such a variable is made of


class PrepareDocument(CommandDocument):
    inputs: List[str]
    outputs: List[str]


class OnceDocument(CommandDocument, total=False):
    """A command that runs once a release."""

    undo: List[str]  # what brings back what `command` did, where there is such a thing


class Distribution(TypedDict):
    """A package of the project's own, as the environment knows it: its modules are in each release."""

    name: str
    version: str
    entry_points: str  # the file's text


class LayerDocument(TypedDict):
    """What the project itself adds to an environment, the same for each release."""

    id: str
    sources: List[str]  # folders of a release in which modules are looked for
    distributions: List[Distribution]
    scripts: Dict[str, str]  # name -> module:function


class _Environment(TypedDict):
    id: str  # of the lock, and the Python asked for
    python: str  # as uv takes it


class EnvironmentDocument(_Environment, total=False):
    """The Python environment of a release."""

    layer: LayerDocument


class _Release(TypedDict):
    format: int
    project: str
    platform: str
    path: str
    links: Dict[str, str]  # path in the release -> target
    models: Dict[str, ModelDocument]  # by path in the release
    prepare: Optional[PrepareDocument]
    lanes: Dict[str, LaneDocument]  # stable, canary, candidate


class ReleaseDocument(_Release, total=False):
    texts: Dict[str, str]  # path in the release -> all that the file there says; besides those that are shipped
    engines: Dict[str, EngineDocument]  # by id; where a service runs on one
    data: Dict[str, str]  # path in the release that leads to shared/data -> the account that writes there
    once: Dict[str, OnceDocument]  # by name, in the order in which they run
    environment: EnvironmentDocument  # where it has one
    traffic: TrafficDocument  # where something stands before them
    prepared: str  # in what a host keeps: the name of what the prepare step made there
