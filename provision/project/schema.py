"""What a project declares, typed and frozen.

Models hold what the file says, checked one value at a time; `provision.project.load` reads the file, replaces the
environment, applies presets, judges what spans several keys, and finds the line of each problem.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from provision.project.template import Template, parse
from provision.project.units import parse_bytes, parse_seconds

NAME = r"^[a-z][a-z0-9-]{0,39}$"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
FIRST_FREE_PORT, LAST_PORT = 1, 65535


class Platform(StrEnum):
    SUPERVISORD = "supervisord"
    SYSTEMD = "systemd"
    DOCKER = "docker"
    KUBERNETES = "kubernetes"


class Lane(StrEnum):
    """Where a copy of a service runs: for users, on trial, or for the length of one transaction."""

    STABLE = "stable"
    CANARY = "canary"
    CANDIDATE = "candidate"


class _TemplateType:
    """Lets pydantic accept a string (or a parsed `Template`) where a `Template` is declared."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: parse(value, {}) if isinstance(value, str) else value,
            core_schema.is_instance_schema(Template, cls_repr="string"),
        )


Text = Annotated[Template, _TemplateType]
Name = Annotated[str, Field(pattern=NAME)]
Port = Annotated[int, Field(ge=FIRST_FREE_PORT, le=LAST_PORT, strict=True)]
Seconds = Annotated[float, BeforeValidator(parse_seconds), Field(gt=0)]
Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(gt=0)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Check(Section):
    """A probe that must pass. Exactly one of `http`, `tcp`, `command`, `completion` is given."""

    http: Text | None = None  # a path on the service's own port ("/health"), or a whole URL
    tcp: Text | None = None  # "${port}" or "host:port"
    command: tuple[Text, ...] | None = None  # run in the release; exit status 0 passes
    completion: Text | None = None  # a prompt for a llama-server; some tokens must come back
    status: tuple[int, ...] = (200,)
    body: str | None = None  # regular expression searched in the body
    headers: dict[str, str] = Field(default_factory=dict)  # name -> regular expression
    tokens: int = Field(default=8, ge=1)
    min_tokens_per_second: float = Field(default=0.0, ge=0)
    timeout: Seconds = 60.0  # until when the check must have passed
    attempt_timeout: Seconds = 10.0
    interval: Seconds = 0.2
    passes: int = Field(default=2, ge=1)  # in a row


class Resources(Section):
    """What a service needs; preflight compares it with what the host has free."""

    size: Literal["small", "medium", "large"] | None = None
    memory: Bytes | None = None
    vram: Bytes | None = None
    cpus: float | None = Field(default=None, gt=0)
    gpus: int = Field(default=0, ge=0)


class Service(Section):
    """A named long-running program."""

    preset: str | None = None
    command: tuple[Text, ...] = ()
    env: dict[Annotated[str, Field(pattern=VARIABLE)], Text] = Field(default_factory=dict)
    secrets: tuple[Annotated[str, Field(pattern=VARIABLE)], ...] = ()
    port: Port | None = None
    canary_port: Port | None = None
    candidate_port: Port | None = None
    check: Check | None = None
    checks: tuple[Check, ...] = ()  # more than one; `check` comes first
    warm: Check | None = None  # run once after the checks, before traffic
    after: tuple[Name, ...] = ()  # started after these are proven
    paths: tuple[str, ...] = ("**",)  # whose change restarts the service (gitignore patterns)
    model: str | None = None  # a GGUF file, shipped by content to shared/models
    binary: str | None = None  # relative: shipped even when ignored; absolute: the host's own
    threads: int | Literal["auto"] = "auto"
    user: str | None = Field(default=None, pattern=r"^[a-z_][a-z0-9_-]*\$?$")
    on_demand: bool = False
    on_switch: Literal["finish", "restart"] = "finish"
    prove: bool = False
    switch: Literal["auto", "beside", "in-place"] = "auto"
    drain: float = Field(default=0.0, ge=0)  # seconds
    stop_timeout: Seconds = 10.0
    resources: Resources = Field(default_factory=Resources)


class Prepare(Section):
    """A step that runs in the incoming release, on the host, before it is named."""

    command: tuple[str, ...] = Field(min_length=1)
    inputs: tuple[str, ...] = ()  # files whose digest decides whether the last result may be reused
    outputs: tuple[str, ...] = ()  # what it makes, relative to the release; kept in the cache
    timeout: Seconds = 900.0


class Rollout(Section):
    """How a release reaches many hosts."""

    canary: int = Field(default=1, ge=0)  # hosts that go first
    batch: str | int = "100%"
    on_failure: Literal["stop", "revert"] = "stop"


class Target(Section):
    """A named place: hosts and a platform."""

    platform: Platform = Platform.SUPERVISORD
    hosts: tuple[Text, ...] = Field(min_length=1)
    path: str = Field(pattern=r"^/[A-Za-z0-9._/@+-]+$")  # plain characters: it stands in unit files
    identity: Text | None = None
    known_hosts: str | None = None
    services: tuple[Name, ...] | None = None  # all, unless named
    name_prefix: str = Field(default="", pattern=r"^[a-z0-9-]*$")
    sudo: bool = False
    user_units: bool = False  # systemd: the user's own manager instead of the system's
    python: str = "python3"
    supervisor_config: str | None = None  # when it can't be found by itself
    prepare: bool = True  # False: this place refuses a prepare step
    keep: int = Field(default=3, ge=2)  # releases kept besides those in use
    rollout: Rollout = Field(default_factory=Rollout)


class Project(Section):
    """Everything that one `deploy.toml` declares."""

    name: Name
    include: tuple[str, ...] = ()  # shipped although an ignore rule says otherwise
    services: dict[Name, Service] = Field(default_factory=dict)
    targets: dict[Name, Target] = Field(default_factory=dict)
    checks: dict[Name, Check] = Field(default_factory=dict)  # project-wide, after all services are proven
    prepare: Prepare | None = None
