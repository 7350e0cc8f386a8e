"""What each platform can and cannot do: one table, and the only place that tells platforms apart by a value.

The rules of a declaration read it, `provision.platforms` (a module for each row), and the test that writes the tables
of docs/deploy.toml.md. Whoever has a target asks `target.can`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


# Those that a target may name.
class Platform(StrEnum):
    SUPERVISORD = "supervisord"
    SYSTEMD = "systemd"
    DOCKER = "docker"
    KUBERNETES = "kubernetes"


DEFAULT = Platform.SUPERVISORD


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """A row of the table; what is left out, a platform has not.

    Attributes:
        gives: what `deploy render` writes, for people; empty where it writes nothing.
        rendered_for: what those files depend on besides the services: a target, or one that declares a
            firewall, or a gateway.
        in_cluster: `deploy up` brings a project there through an API server; a target has a namespace, and no hosts.
        over_ssh: `deploy up` brings a project there, and `provision.agent.supervisors` has its other half.
        on_host: a service is a process of the host itself, started by a launcher; else a container, which has what its
            image has, and reaches no Docker Engine.
        secret_file: where the file of a secret is, for people; empty where there are none.
        user_units: a user can have one of their own.
        own_config: it reads the file that a target names as `supervisor_config`.
        waits: by itself, until a service is ready and, before it stops it, until no request is in flight.
        credentials: it passes the files of secrets on to the program itself.
        restart: the keys of a service's `restart` that it has; another one is refused where it deploys, and named where
            it is rendered.
        limits_always: its limit counts starts after exit status 0, too.
        tries: the limit of a batch is how often it is tried.
        groups: a service can be given a group besides its account's own.
        forwarded: requests get to a service through the host, as ufw calls it, and not into the host.
        installs: what is rendered has the project's own packages installed.
        tools: what has to be installed on its hosts.
    """

    gives: str = ""
    rendered_for: Literal["", "target", "firewall", "gateway"] = ""
    in_cluster: bool = False
    over_ssh: bool = False
    on_host: bool = False
    secret_file: str = ""
    user_units: bool = False
    own_config: bool = False
    waits: bool = False
    credentials: bool = False
    restart: tuple[str, ...] = ()
    limits_always: bool = False
    tries: bool = False
    groups: bool = False
    forwarded: bool = False
    installs: bool = False
    tools: tuple[str, ...] = ()


PLATFORMS: Mapping[str, Abilities] = {
    Platform.SUPERVISORD: Abilities(
        gives="a program and a launcher for each service",
        rendered_for="target",
        over_ssh=True,
        on_host=True,
        secret_file="`secret-files/NAME` in the launch folder, mode 0400; new with each launch, and gone with it",
        own_config=True,
        restart=("on", "limit"),
        limits_always=True,
        tools=("supervisord",),
    ),
    Platform.SYSTEMD: Abilities(
        gives="a unit and a launcher for each service",
        rendered_for="target",
        over_ssh=True,
        on_host=True,
        secret_file="a credential (`LoadCredential=`): in memory, for that unit alone; systemd 247 or newer, which has "
        "none for units in a container whose `/` is not a shared mount",
        user_units=True,
        waits=True,
        credentials=True,
        restart=("on", "delay", "limit", "window"),
        limits_always=True,
        groups=True,
    ),
    Platform.DOCKER: Abilities(
        over_ssh=True,
        secret_file="`/run/secrets/NAME`, read-only, from the launch folder",
        restart=("on", "limit"),
        groups=True,
        forwarded=True,
    ),
    "monitoring": Abilities(gives="Prometheus: scrapes and alerts; a Grafana dashboard"),
    "ufw": Abilities(gives="the firewall of a host: a script, and its rules for people", rendered_for="firewall"),
    "nginx": Abilities(gives="what stands in front of services: TLS, limits, canary"),
    "compose": Abilities(
        gives="a compose.yaml for one machine",
        secret_file="`/run/secrets/NAME`, read-only, from `secrets/` beside compose.yaml",
        restart=("on", "limit"),
    ),
    "nomad": Abilities(
        gives="jobs of HashiCorp Nomad, as JSON",
        secret_file="`/secrets/NAME`, from the Variable `nomad/jobs/PROJECT/PROJECT/SERVICE`",
        restart=("delay", "limit", "window"),
        limits_always=True,
    ),
    "dockerfile": Abilities(gives="the images of the project's own Python services", installs=True),
    "lambda": Abilities(gives="functions on AWS Lambda: handlers, their image, a SAM template", installs=True),
    "cloud-function": Abilities(
        gives="functions on Google Cloud (2nd gen): sources, and how to deploy them", installs=True
    ),
    Platform.KUBERNETES: Abilities(
        gives="a kustomize folder: channels, overlays",
        rendered_for="gateway",
        in_cluster=True,
        secret_file="`/run/secrets/NAME`, from the Secret `SERVICE-secrets`, or the one that `secret_keys` says",
        tries=True,
    ),
}

RENDERED = tuple(str(name) for name, can in PLATFORMS.items() if can.gives)
OVER_SSH = tuple(str(name) for name, can in PLATFORMS.items() if can.over_ssh)
IN_CLUSTER = tuple(str(name) for name, can in PLATFORMS.items() if can.in_cluster)
OF_IMAGES = tuple(name for name in OVER_SSH if not PLATFORMS[name].on_host)


def those(ability: str) -> str:
    """The platforms that have `ability`, for a sentence."""
    return ", ".join(name for name, can in PLATFORMS.items() if getattr(can, ability))
