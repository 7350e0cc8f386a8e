"""Services that answer as functions: facts for the templates, within what a platform can hold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from provision.errors import UnencodableValue, UsageError
from provision.manifests import containers
from provision.manifests.containers import Containers
from provision.manifests.value import Value, Variable, refuse_secrets
from provision.project.parts import Serverless
from provision.project.presets import presets
from provision.project.schema import Project
from provision.project.service import Lane, Service
from provision.project.target import Target
from provision.project.template import parse

_EVERYWHERE = ("0.0.0.0/0", "::/0")
_MIB = 1024**2
_USUAL_MIB = 512  # an interpreter and a few packages


@dataclass(frozen=True)
class Function:
    """What a template may use, as `function`."""

    project: str
    service: str
    name: str  # as the platform knows it
    file: str  # the module that the platform calls
    module: str  # the service's own
    function: str  # in it
    as_event: bool  # whether it is given what the platform gives
    env: tuple[Variable, ...]  # without secrets
    secrets: tuple[str, ...]  # names of variables
    memory_mib: int
    cpus: int | None  # None where memory decides
    timeout_seconds: int
    most: int | None  # copies at a time: `scale.max`
    public: bool  # whether it answers those that nobody vouches for


@dataclass(frozen=True)
class Functions:
    """What a template may use, as `functions`."""

    project: str
    each: tuple[Function, ...]


@dataclass(frozen=True)
class Cloud:
    """A platform, and what it can hold."""

    name: str
    platform: str  # as `deploy render` calls it
    path: str  # where the project lies
    most_seconds: int
    most_env_bytes: int  # of all variables together
    size: Callable[[str, int, float | None], tuple[int, int | None]]  # service, MiB, cores -> MiB, cores
    call: Callable[[str, str], tuple[str, str]]  # project, service -> name, file
    refuse_variable: Callable[[str], str]  # name -> why not, or empty


def functions(project: Project, target: Target | None, cloud: Cloud) -> Functions:
    """The services that declare a function.

    Raises:
        UsageError: none does.
        UnencodableValue: one asks for what the platform does not have.
    """
    bare = containers.containers(project, cloud.platform, Lane.STABLE, target)
    places = dataclasses.replace(bare, target=bare.target.model_copy(update={"path": cloud.path}))
    declared = {
        name: (service, service.serverless)
        for name, service in sorted(project.services.items())
        if service.serverless and places.holds(name)
    }
    if not declared:
        raise UsageError(
            "no service declares a function.",
            why="A function platform calls one in Python; a command means nothing to it.",
            next_step='add serverless = { entry = "package.module:function" } to a service',
        )
    each = tuple(_function(places, name, *found, cloud) for name, found in declared.items())
    taken: dict[str, str] = {}
    for function in each:
        other = taken.setdefault(function.name, function.service)
        if other != function.service:
            reason = f"{cloud.name} would know it as {function.name}, and services.{other} too; rename one"
            raise UnencodableValue(f"services.{function.service}", reason)
    return Functions(project.name, each)


def _function(places: Containers, name: str, service: Service, declared: Serverless, cloud: Cloud) -> Function:
    env = _env(places, name, cloud)
    for key, reason in _refusals(service, declared, cloud):
        raise UnencodableValue(f"services.{name}.{key}", reason)
    module, _, function = declared.entry.partition(":")
    known_as, file = cloud.call(places.project.name, name)
    memory = math.ceil(service.resources.memory / _MIB) if service.resources.memory else _USUAL_MIB
    memory, cpus = cloud.size(f"services.{name}.resources", memory, service.resources.cpus)
    return Function(
        project=places.project.name,
        service=name,
        name=known_as,
        file=file,
        module=module,
        function=function,
        as_event=declared.takes == "event",
        env=env,
        secrets=service.secrets,
        memory_mib=memory,
        cpus=cpus,
        timeout_seconds=math.ceil(declared.timeout),
        most=service.scale.max if service.scale else None,
        public=bool(service.expose),
    )


def _refusals(service: Service, declared: Serverless, cloud: Cloud) -> Iterator[tuple[str, str]]:
    """What is declared and cannot be had there: the key, and why."""
    for key, is_given, reason in (
        ("on_demand", service.on_demand, "a function runs while it answers; a worker waits for work of its own"),
        ("batch", service.batch, "a function answers requests; a batch runs to its end without one"),
        ("secret_files", service.secret_files, "a function's secrets are variables; name them in secrets"),
        ("binary", service.is_native, "a function is Python, not a native program"),
        ("model", service.model, "no caller waits until a model is loaded"),
        (
            "volumes",
            service.volumes if not _of_its_preset(service) else None,
            "what a function writes is gone with its copy; keep it in a store (volumes = {} drops a preset's)",
        ),
        ("resources.gpus", service.resources.gpus, "a function gets no GPU"),
        ("resources.gpu_fraction", service.resources.gpu_fraction, "a function gets no GPU"),
        ("resources.vram", service.resources.vram, "a function gets no GPU"),
        (
            "check" if service.check and service.check.tcp else "checks",
            any(check.tcp for check in service.every_check),
            "its port is asked by TCP, and a function answers HTTP alone",
        ),
        (
            "expose",
            not set(service.expose) <= set(_EVERYWHERE),
            f'{cloud.name} lets in who is signed in, or with "0.0.0.0/0" everybody; it tells no networks apart',
        ),
        (
            "serverless.timeout",
            declared.timeout > cloud.most_seconds,
            f"{cloud.name} ends a function after {cloud.most_seconds} s",
        ),
    ):
        if is_given:
            yield key, f"{reason}; remove it, or serverless"


def _of_its_preset(service: Service) -> bool:
    """Whether its volumes are what its preset says, and nobody's wish."""
    declared = presets().get(service.preset or "", {}).get("volumes", {})
    return {name: parse(volume["path"], {}) for name, volume in declared.items()} == {
        name: volume.path for name, volume in service.volumes.items()
    }


def _writable(places: Containers, service: Service, variable: Variable) -> Variable:
    """`variable`; where it names the folder of a volume, which no function has, one below /tmp."""
    subject = variable.value.subject
    for name, volume in service.volumes.items():
        if variable.value.parts == places.value(volume.path, subject).parts:
            return Variable(variable.name, Value(subject, (f"/tmp/{name}",)))  # noqa: S108  # its copy's own
    return variable


def _env(places: Containers, name: str, cloud: Cloud) -> tuple[Variable, ...]:
    service = places.project.services[name]
    for variable, template in service.env.items():
        if any(ref.name.startswith("services.") for ref in template.refs):
            reason = f"from {cloud.name} no other service is found by its name; write where it is, as a whole URL"
            raise UnencodableValue(f"services.{name}.env.{variable}", reason)
    for variable in (*service.env, *service.secrets):
        reason = cloud.refuse_variable(variable)
        if reason:
            key = f"env.{variable}" if variable in service.env else f"secrets[{service.secrets.index(variable)}]"
            raise UnencodableValue(f"services.{name}.{key}", reason)
    for made in containers.composed(places, name):
        refuse_secrets(made.value)
    env = tuple(_writable(places, service, variable) for variable in containers.env(places, name))
    containers.refuse_docker(places, name, cloud.name, is_machine=False)
    size = sum(len(f"{each.name}{each.value.text}".encode(errors="surrogatepass")) for each in env)
    if size > cloud.most_env_bytes:
        reason = f"it has {size} bytes, and {cloud.name} holds {cloud.most_env_bytes}; put them into a file"
        raise UnencodableValue(f"services.{name}.env", reason)
    return env
