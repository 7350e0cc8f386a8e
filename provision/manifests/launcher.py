"""Launchers: a script per program that sets its environment and becomes it.

Neither supervisord's `environment=` nor a file of variables carries every value, a shell's single quotes do. The
launcher names its release by a link beside it, so the manifest that starts it need not change with each release.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from provision.agent.alone import program
from provision.contract.layout import DEVICES, SECRET_FOLDER, STARTS
from provision.errors import UnencodableValue
from provision.manifests.attendance import Idle, Ready, idle, ready
from provision.manifests.encoders.shell import check_program, is_shells_own
from provision.manifests.places import LaneOnTarget
from provision.manifests.templates import render
from provision.manifests.value import AtStart, Encoded, Format, Value, Variable
from provision.project.service import Service

TEMPLATE = "launcher/launch.sh.j2"

# execve(2): arguments and environment together may take a quarter of the stack limit, which is 8 MiB nearly
# everywhere. Some of that is left to what the program inherits.
LARGEST_START = 2 * 1024 * 1024 - 256 * 1024
_POINTER = 8  # bytes that the kernel counts for each string besides the string


@dataclass(frozen=True)
class Launcher:
    """What the launcher's template may use, as `launcher`."""

    project: str
    service: str
    program: str  # as the supervisor knows it
    exported: tuple[Variable, ...]
    through_env: tuple[Variable, ...]  # variables that a shell would refuse or change; env(1) sets them
    starts_file: str  # absolute; has the last starts, in one line of one length
    devices_file: str  # absolute; says which GPUs this copy has on its host; empty where it is given none
    composed: tuple[Variable, ...]  # those made of secrets: they can be put together once the secrets are there
    secrets: tuple[str, ...]  # names alone
    secrets_file: str  # absolute
    secret_files: tuple[Variable, ...]  # each says where the file of a secret is, with `deploy_secret_files` in it
    secret_folder: str  # absolute; has those files
    has_credentials: bool  # systemd passes those files on to the program
    has_environment: bool  # the release has a Python environment, as `.venv`
    release: str  # absolute; the link to the release that the program runs in
    command: tuple[Value, ...]
    counts_cpus: bool  # `command` or a variable holds ${cpus}: `deploy_cpus` has to be set
    most_cpus: int | None  # resources.cpus, in whole ones
    python: Value  # the host's, to ask the two below
    attend: Encoded  # the program that asks
    ready: Ready | None  # `launch ready`: wait until it serves
    idle: Idle | None  # `launch idle`: wait until no request is in flight


def launcher(places: LaneOnTarget, name: str) -> Launcher:
    """The launcher's facts.

    Raises:
        UnencodableValue: no process can be given one of the values.
    """
    service = places.project.services[name]
    variables = [
        Variable(variable, places.value(template, f"services.{name}.env.{variable}", name))
        for variable, template in service.env.items()
    ]
    through_env = tuple(variable for variable in variables if is_shells_own(variable.name))
    composed = tuple(variable for variable in variables if variable.value.secrets)
    _check_composed(composed)
    command = tuple(places.value(word, f"services.{name}.command", name) for word in service.command)
    if not command:
        raise UnencodableValue(f"services.{name}.command", "there is no program to start")
    check_program(command[0], behind_env=bool(through_env))
    _check_size(name, command, variables)
    values = (*command, *(variable.value for variable in variables))
    cpus = service.resources.cpus
    return Launcher(
        project=places.project.name,
        service=name,
        program=places.program(name),
        exported=tuple(variable for variable in variables if variable not in (*through_env, *composed)),
        through_env=through_env,
        composed=composed,
        starts_file=f"{places.run(name)}/{STARTS}",
        devices_file=f"{places.run(name)}/{DEVICES}" if _has_devices(service) else "",
        secrets=service.secrets,
        secrets_file=f"{places.run(name)}/secrets",
        secret_files=places.secret_files(name),
        secret_folder=f"{places.run(name)}/{SECRET_FOLDER}",
        has_credentials=places.target.can.credentials,
        has_environment=_has_environment(places, service),
        release=f"{places.run(name)}/release",
        command=command,
        counts_cpus=any(AtStart.CPUS in value.parts for value in values),
        most_cpus=max(1, int(cpus)) if cpus else None,
        python=Value("the target's python", (places.target.python,)),
        attend=_attend(),
        ready=ready(places, name),
        idle=idle(places, name) if places.target.can.waits else None,
    )


@cache
def _attend() -> Encoded:
    """What a shell gives to Python as it is, up to a line `END`: two modules of the agent as one program."""
    source = re.sub(r"\n\n\n+", "\n\n", program("sockets", "attend"))
    return Encoded(source.removesuffix("\n"), Format.LAUNCHER)


def launch(places: LaneOnTarget, name: str, overrides: Path | None) -> str:
    """The launcher's text.

    Raises:
        UnencodableValue: the project's own template leaves out what is made of secrets.
    """
    facts = launcher(places, name)
    text = render(TEMPLATE, overrides, launcher=facts)
    for variable in facts.composed:
        if f"export {variable.name}=" not in text:
            reason = (
                f"templates/{TEMPLATE} of the project's own does not set it; take the lines on launcher.composed over"
            )
            raise UnencodableValue(variable.value.subject, reason)
    if facts.has_environment and "/.venv/bin" not in text:
        reason = f"templates/{TEMPLATE} of the project's own does not put .venv/bin on PATH; take those lines over"
        raise UnencodableValue(f"services.{name}", reason)
    if facts.devices_file not in text:
        reason = f"templates/{TEMPLATE} of the project's own does not read launcher.devices_file; take that line over"
        raise UnencodableValue(f"services.{name}.resources", reason)
    return text


def _has_environment(places: LaneOnTarget, service: Service) -> bool:
    """Whether its release's Python environment is for it, too: what is compiled has none, nor what is a container."""
    python = places.project.python
    made = python is not None and python.source == "environment"
    return made and places.target.can.on_host and not service.is_native


def _has_devices(service: Service) -> bool:
    """Whether its host gives it GPUs; `contract.devices` says which."""
    return not service.on_demand and bool(service.resources.gpus or service.resources.gpu_fraction)


def _check_composed(composed: Sequence[Variable]) -> None:
    for variable in composed:
        # env(1), which sets what a shell keeps for itself, would be given the value as an argument.
        for name in filter(is_shells_own, (variable.name, *variable.value.secrets)):
            raise UnencodableValue(variable.value.subject, f"a shell keeps {name} for itself; take another name")


def _check_size(name: str, command: Sequence[Value], variables: Sequence[Variable]) -> None:
    strings = [value.known for value in command] + [f"{each.name}={each.value.known}" for each in variables]
    size = sum(len(string.encode(errors="surrogatepass")) + _POINTER for string in strings)
    if size > LARGEST_START:
        raise UnencodableValue(
            f"services.{name}",
            f"its command and env have {size} bytes together, and the kernel starts a program with {LARGEST_START}",
        )
