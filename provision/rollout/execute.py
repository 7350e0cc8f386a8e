"""A command on one host, in the release that a channel has there, with what a service is started with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from provision import errors
from provision.agent import loader
from provision.contract.slots import named
from provision.rollout.hosts import chosen
from provision.rollout.logs import no_service
from provision.targets import Deployment

if TYPE_CHECKING:
    from provision.hosts import Channel, HostSpec, TerminalSize

_REFUSED = 4


def execute(
    deployment: Deployment,
    argv: Sequence[str],
    host: str | None = None,
    *,
    service: str = "",
    channel: str = "stable",
    plain: bool = False,
    on_host: bool = False,
    output: int = 1,
    terminal: TerminalSize | None = None,
    attend: Callable[[Channel], None] | None = None,
) -> int:
    """Run a command in a release of one host, as the account of a service and with its environment. The exit status.

    On an engine: inside the service's container.

    Args:
        service: whose environment, or in whose container; the only one by default. `api.2` is a second copy.
        plain: as who logs in, and without any service's environment; `on_host` is the same, on an engine as well.
        output: the file descriptor that its output goes to.
        terminal: the command has one, of this size.
        attend: takes over the session, terminal and all, instead of pouring its output.

    Raises:
        UsageError: it is not clear whose environment, or there is no such service.
        Refused: nothing is deployed there, or that account can't be had.
    """
    spec, target = _one(deployment, host), deployment.target
    in_container = not (target.can.on_host or on_host)
    if plain and in_container:
        raise errors.UsageError(
            "a container has its environment whoever asks.", next_step="leave --plain out, or run it --on-host"
        )
    name = "" if plain or on_host else _program(deployment, service, channel)
    if in_container:
        inside = deployment.platform.inside(target, name, terminal=terminal is not None)
        command = loader.executing(target.python, target.path, channel, "", [*inside, *argv])
    else:
        as_root = target.as_root if name else ()
        command = [*as_root, *loader.executing(target.python, target.path, channel, name, argv)]
    with deployment.connect(spec) as connection, connection.session(command, terminal=terminal) as session:
        if attend is not None:
            attend(session)
            return session.exit_status()
        session.end_input()
        session.pour_into(output)
        status = session.exit_status()
        _tell(deployment, spec, session.stderr_tail(), status)
        return status


def _tell(deployment: Deployment, spec: HostSpec, said: bytes, status: int) -> None:
    """What stood in the way of a command: it says so where the command itself says nothing."""
    for line in said.decode(errors="replace").splitlines():
        try:
            told = json.loads(line)
            what, next_step = str(told["what"]), str(told["next"])
        except (ValueError, TypeError, KeyError, RecursionError):
            if line.startswith("sudo:"):
                raise errors.Refused(
                    "a service's environment is for its own account, and sudo lets nobody have that.",
                    why=line,
                    next_step="allow the login user NOPASSWD in sudoers, or --plain",
                    host=spec.name,
                ) from None
            continue
        if status == _REFUSED:
            kind = errors.Untrusted if "can't be trusted" in what else errors.Refused
            raise kind(what, next_step=next_step, host=spec.name)
        deployment.on_event({"event": "warning", "host": spec.name, "text": f"{what} next: {next_step}"})


def _program(deployment: Deployment, service: str, channel: str) -> str:
    """What the supervisor calls the program that `service` means in a channel."""
    project, target = deployment.loaded.project, deployment.target
    names = list(project.services_on(target))
    instead = "--plain for none" if target.can.on_host else "--on-host"
    if not service and len(names) != 1:
        raise errors.UsageError(
            "a command runs with the environment of one service.",
            why=f"There are {', '.join(names)}." if names else "There is none.",
            next_step=f"--service {names[0]}, or {instead}" if names else instead,
        )
    name, _, copy = service.rpartition(".")
    if not copy.isdigit():
        name, copy = service or names[0], ""
    if name not in names:
        raise no_service(service, names)
    # Completion of a shell reads this module, and none of those.
    from provision.manifests.places import LaneOnTarget
    from provision.project.fronted import is_fronted
    from provision.project.service import Lane

    if not copy and is_fronted(target, project.services[name]):  # which has the role now, is for the host to say
        return ":".join(LaneOnTarget(project, target, Lane(channel), {}).programs(name))
    slot = "" if channel == "stable" else channel
    return deployment.platform.program(target.name_prefix, project.name, named(name, copy or slot))


def _one(deployment: Deployment, host: str | None) -> HostSpec:
    specs = chosen(deployment, [host] if host else None)
    if len(specs) > 1:
        names = ", ".join(spec.name for spec in specs)
        next_step = f"--host {specs[0].name}"
        raise errors.UsageError("this needs one host", why=f"The target has: {names}.", next_step=next_step)
    return specs[0]
