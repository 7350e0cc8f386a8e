"""A project on one machine that has Docker: facts for the templates of Compose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from provision.manifests import containers
from provision.manifests.compose.health import Health, health
from provision.manifests.containers import Containers, Engine
from provision.manifests.encoders.shell import shell_env
from provision.manifests.engine import restart_policy
from provision.manifests.fetched import Fetch
from provision.manifests.value import Value, Variable
from provision.project.order import start_order
from provision.project.parts import Restart
from provision.project.schema import Project
from provision.project.service import Lane
from provision.project.target import Target

if TYPE_CHECKING:
    from provision.manifests.fetched import Locked

# Secrets are files, and programs read variables. The dot keeps a line's end at the end of a value, which `$(…)` drops.
_WITH_SECRETS = """\
for deploy_name in {names}; do \
deploy_value=$(cat "/run/secrets/$deploy_name" && echo .) || exit; \
export "$deploy_name=${{deploy_value%.}}"; \
done; {made}exec "$@\""""
_FIRST_UNPRIVILEGED_PORT = 1024


@dataclass(frozen=True)
class Dependency:
    """A service that has to be there before another one starts."""

    service: str
    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]


@dataclass(frozen=True)
class Mount:
    """A named volume in a container."""

    volume: str
    path: Value


@dataclass(frozen=True)
class Container:
    """What a template may use of a service, as `container`."""

    service: str
    image: str
    build: str  # the folder that it is built from; empty for none
    restart: str  # of one that runs for ever
    entrypoint: tuple[Value, ...]  # the program and its arguments; with secrets, what reads them first
    env: tuple[Variable, ...]
    secrets: tuple[str, ...]  # names alone
    secret_files: tuple[str, ...]  # likewise; of these no variable is made
    port: int | None
    low_port: bool
    exposed: bool  # reached from beyond this machine
    health: Health | None
    after: tuple[Dependency, ...]
    on_demand: bool
    batch: bool
    stop_seconds: int  # from the polite signal to the hard one
    memory: str | None
    memory_request: str | None  # what is kept free for it, where that is said
    engine: Engine | None  # the Docker Engine that it is given: `socket`, `group`
    cpus: str | None
    gpus: int
    mounts: tuple[Mount, ...]
    volumes_first: (
        str  # the service that gives it its volumes before it starts; empty where its image has their folders
    )
    fetch: Fetch | None  # what fetches its model before it starts, a service called `SERVICE_model`


@dataclass(frozen=True)
class Stack:
    """What the template of the whole file may use, as `stack`."""

    project: str
    user_id: int
    containers: tuple[Container, ...]  # in the order in which they start
    secrets: tuple[str, ...]  # of all services
    volumes: tuple[str, ...]


def stack(project: Project, target: Target | None, locked: Mapping[str, Locked] | None = None) -> Stack:
    """The facts of those services that `target` runs, or of all.

    Args:
        locked: models that are fetched, by their places; the others are in images.

    Raises:
        UnencodableValue: a value means nothing in a container, or an image is missing.
    """
    places = containers.containers(project, "compose", Lane.STABLE, target, locked)
    found = tuple(_container(places, name) for name in start_order(project.services) if places.holds(name))
    return Stack(
        project=project.name,
        user_id=project.user_id,
        containers=found,
        secrets=tuple(sorted({secret for each in found for secret in _secrets(each)})),
        volumes=tuple(
            sorted(
                {
                    *(mount.volume for each in found for mount in each.mounts),
                    *(f"{each.service}-model" for each in found if each.fetch),
                }
            )
        ),
    )


def _secrets(container: Container) -> tuple[str, ...]:
    token = container.fetch.token if container.fetch else ""
    return (*container.secrets, *container.secret_files, *([token] if token else []))


def _container(places: Containers, name: str) -> Container:
    service = places.project.services[name]
    resources = service.resources
    env = containers.env(places, name)
    # An image of somebody else's has no folder there; the project's own has (templates/dockerfile). No service of a
    # project can have this name.
    volumes_first = f"{name}_volumes" if service.volumes and service.image else ""
    fetch = containers.fetched(places, name)
    containers.refuse_docker(places, name, "a confined container")
    return Container(
        service=name,
        image=containers.rendered_image(places.project, name),
        build="" if service.image else places.project.build or "",
        restart=_restart(service.restart),
        entrypoint=_entrypoint(places, name),
        env=env,
        secrets=service.secrets,
        secret_files=service.secret_files,
        port=service.port,
        low_port=service.port is not None and service.port < _FIRST_UNPRIVILEGED_PORT,
        exposed=bool(service.expose),
        health=health(places, name),
        after=(
            *([Dependency(volumes_first, "service_completed_successfully")] if volumes_first else ()),
            *([Dependency(f"{name}_model", "service_completed_successfully")] if fetch else ()),
            *(_dependency(places, other) for other in service.after if places.holds(other)),
        ),
        on_demand=service.on_demand,
        batch=service.batch,
        stop_seconds=math.ceil(service.drain + service.stop_timeout),
        memory=_bytes(resources.memory) if resources.memory else None,
        memory_request=_bytes(resources.requests.memory) if resources.requests.memory else None,
        engine=containers.engine(service),
        cpus=f"{resources.cpus:g}" if resources.cpus else None,
        gpus=resources.devices,
        mounts=tuple(
            Mount(
                f"{volume.of_service(name)}-{key}",
                places.value(volume.path, f"services.{name}.volumes.{key}.path", name),
            )
            for key, volume in sorted(service.volumes.items())
        ),
        volumes_first=volumes_first,
        fetch=fetch,
    )


def _entrypoint(places: Containers, name: str) -> tuple[Value, ...]:
    command, secrets = containers.command(places, name), places.project.services[name].secrets
    if not secrets:
        return command
    made = "".join(f"export {shell_env(variable)}; " for variable in containers.composed(places, name))
    first = ("/bin/sh", "-c", _WITH_SECRETS.format(names=" ".join(secrets), made=made), name)
    return (*(Value(f"services.{name}.secrets", (word,)) for word in first), *command)


def _dependency(places: Containers, name: str) -> Dependency:
    if places.project.services[name].batch:
        return Dependency(name, "service_completed_successfully")
    return Dependency(name, "service_healthy" if health(places, name) else "service_started")


def _restart(said: Restart) -> str:
    policy = restart_policy(said)
    retries = policy.get("MaximumRetryCount")
    return f"{policy['Name']}:{retries}" if retries else str(policy["Name"])


def _bytes(size: int) -> str:
    """Bytes as Compose writes them: its m and g are powers of 1024."""
    units = (("g", 2**30), ("m", 2**20))
    return next((f"{size // unit}{name}" for name, unit in units if size % unit == 0), f"{size}b")
