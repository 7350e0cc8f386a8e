"""Rules about services: what they run, whom they wait for, what they and the step before them keep secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from provision.project.checks.kind import shape
from provision.project.fault import Fault, Path, nearest
from provision.project.order import CyclicOrder, start_order
from provision.project.rules.view import Sound
from provision.project.template import Template

_VISIBLE = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
_LEAST = 1 << 16  # bytes: no program runs in less
_ADD_PORT = "Add one, such as port = 8000."


def _commands(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        if service.command:
            continue
        hint = (
            f'The preset "{service.preset}" leaves it to you: command = ["python3", "-m", "…"].'
            if service.preset
            else 'Give one, such as command = ["python3", "-m", "app"], or a preset.'
        )
        yield Fault(("services", name, "command"), "missing.", hint, at_key=True)


def _programs(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        if service.command and not any(service.command[0].parts):
            yield Fault(("services", name, "command", 0), "the program's name is empty.")
        elif message := _for_a_shell(service.command):
            yield Fault(("services", name, "command"), *message)
        said = {"binary": service.binary, "model": service.model, "draft": service.draft, "mmproj": service.mmproj}
        for key, path in said.items():
            if path is not None and (not path or ".." in PurePosixPath(path).parts):
                yield Fault(("services", name, key), 'expected a path inside the project, without "..".')


def _for_a_shell(command: Sequence[Template]) -> tuple[str, str] | None:
    """What only a shell would understand of the words of a command, and what to write instead."""
    written = [shape(word) for word in command]
    line = json.dumps(["sh", "-c", " ".join(written)], ensure_ascii=False) if "\0" not in "".join(written) else ""
    in_a_shell = f"For one: {line}." if line else 'For one: ["sh", "-c", "…"].'
    if any(word in ("&&", "||", "2>&1") for word in written):
        return "no shell reads these words.", in_a_shell
    if written and written[0].startswith("~/"):
        return '"~" is the shell\'s, and none reads it here.', "Write the path from / on, or below the project."
    if len(written) == 1 and re.search(r"\s", written[0]) and "/" not in written[0].split()[0]:
        if re.search(r"[&|;<>$]", written[0]) or "\0" in written[0]:
            return "no program is called that, and no shell reads it.", in_a_shell
        words = json.dumps(written[0].split(), ensure_ascii=False)
        return "no program is called that: each word stands for itself.", f"Write command = {words}."
    return None


def _engines(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        if service.engine and service.binary is not None:
            yield Fault(("services", name, "engine"), "binary says which program runs.", "Remove one of them.")
        if service.engine and not any(ref.name == "binary" for text in service.command for ref in text.refs):
            hint = 'Let the command begin with "${binary}", or remove engine.'
            yield Fault(("services", name, "engine"), "the command does not use it.", hint)
        if service.engine == "wheel" and service.resources.devices:
            asked = service.resources
            key = "vram" if asked.vram else "gpus" if asked.gpus else "gpu_fraction"
            hint = 'Remove it, or take a compiled one: engine = "build", binary = "…".'
            yield Fault(("services", name, "resources", key), "the wheel engine uses no GPU.", hint)


def _devices(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        resources, base = service.resources, ("services", name, "resources")
        for key in ("memory", "vram"):
            if 0 < (given := getattr(resources, key) or 0) < _LEAST:
                yield Fault((*base, key), f"the number {given} means bytes.", f'Write the unit: {key} = "4GB".')
        if resources.gpu_fraction and resources.gpus:
            yield Fault((*base, "gpu_fraction"), "gpus are whole ones that nobody else has.", "Remove one of them.")
        on_hosts = any(target.can.over_ssh and name in view.chosen(target) for target in view.targets.values())
        if view.copies.get(name, 1) == 1 or not on_hosts:
            continue
        if resources.vram and not (resources.gpus or resources.gpu_fraction):
            hint = "Add gpus = 1, or gpu_fraction = 0.5 if two may share one."
            yield Fault((*base, "vram"), "several copies on a host need to be told apart by their GPUs.", hint)
        for variable in _VISIBLE if resources.devices else ():
            if variable in service.env:
                message = "the host says which GPUs each copy has, in this variable."
                yield Fault(("services", name, "env", variable), message, "Remove it, or replicas.")


def _after(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        for index, other in enumerate(service.after):
            path = ("services", name, "after", index)
            if other == name:
                yield Fault(path, "a service cannot wait for itself.")
            elif other not in view.declared:
                yield Fault(path, f'no service is called "{other}".', nearest(other, sorted(view.declared), "services"))
            elif other in view.services and view.services[other].on_demand:
                yield Fault(
                    path,
                    f'"{other}" is started on demand, so a deploy would wait for it for ever.',
                    f"Remove it here, or on_demand from services.{other}.",
                )


def _starts(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        for index, other in enumerate(service.starts):
            path = ("services", name, "starts", index)
            if other not in view.declared:
                yield Fault(path, f'no service is called "{other}".', nearest(other, sorted(view.declared), "services"))
            elif other in view.services and not view.services[other].on_demand:
                hint = f"Remove it here, or add on_demand = true to services.{other}."
                yield Fault(path, f'"{other}" is started by a deploy, not on demand.', hint)


def _cycle(view: Sound) -> Iterator[Fault]:
    others = {
        name: service.model_copy(update={"after": tuple(other for other in service.after if other != name)})
        for name, service in view.services.items()
    }
    try:
        start_order(others)
    except CyclicOrder as error:
        path = ("services", error.cycle[0], "after")
        yield Fault(path, f"none of these can start first: {error}.", "Remove one of the waits.")


def _secrets(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        for index, variable in enumerate(service.secrets):
            path = ("services", name, "secrets", index)
            if variable in service.env:
                yield _in_env_too(path, variable)
            elif variable in service.secrets[:index]:
                yield Fault(path, f"{variable} is named twice.")
        for index, variable in enumerate(service.secret_files):
            path = ("services", name, "secret_files", index)
            if variable in service.env:
                yield _in_env_too(path, variable)
            elif variable in service.secrets:
                yield Fault(path, f"{variable} is among secrets too, which put it into the environment.", "Keep one.")
            elif variable in service.secret_files[:index]:
                yield Fault(path, f"{variable} is named twice.")
            elif f"{variable}_FILE" in service.env or f"{variable}_FILE" in service.every_secret:
                hint = f"Remove it; the program finds the path in {variable}_FILE anyway."
                yield Fault(path, f"{variable}_FILE is declared too.", hint)


def _step_secrets(view: Sound) -> Iterator[Fault]:
    for base, step in view.steps():
        for index, variable in enumerate(step.secrets):
            if variable in step.env:
                yield _in_env_too((*base, "secrets", index), variable)


def _in_env_too(path: Path, variable: str) -> Fault:
    return Fault(path, f"{variable} is in env too.", "Keep it here alone: env is part of the release.")


def _stray_ports(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        for key in ("canary_port", "candidate_port"):
            if getattr(service, key) is not None and service.port is None:
                yield Fault(("services", name, key), "the service has no port.", _ADD_PORT, at_key=True)


def _metrics(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        if service.metrics and service.port is None:
            yield Fault(("services", name, "metrics"), "there is no port to ask.", _ADD_PORT, at_key=True)


RULES = (
    _commands,
    _programs,
    _engines,
    _devices,
    _after,
    _starts,
    _cycle,
    _secrets,
    _step_secrets,
    _stray_ports,
    _metrics,
)
