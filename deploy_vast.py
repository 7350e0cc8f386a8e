#!/usr/bin/env python3
"""One command: the project in this folder onto the Vast.ai instance that .env names, or onto one that is rented.

    python deploy_vast.py [FOLDER]

.env holds VAST_HOST, VAST_PORT and VAST_SSH_KEY, as Vast.ai shows them under "Connect", Direct SSH. With VAST_API_KEY
and no VAST_HOST the target with a provider is meant: what it lacks is rented within its budget, and its host key is
read from the instance's log. FOLDER is the current one if it has a deploy.toml, else examples/vast-stack. What it does
is what `deploy up` and `deploy smoke` do: the folder is synced to /workspace, services start under the image's
supervisord, and whatever fails is put back. A second run of what has not changed looks once, and changes nothing.

On a machine with a GPU, and a project that leaves its engine to STACK_ENGINE, the model is served from the GPU: by the
image's own /app/llama-server (ghcr.io/ggml-org/llama.cpp:server-cuda), else by one that is compiled here with CUDA.
Which one it is, is written into .env once, so that `deploy plan` and `deploy up` mean the same.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provision import rollout
from provision.cli import seen
from provision.cli.failures import tell
from provision.cli.renting import rented
from provision.cli.session import Session, declared_targets
from provision.contract.model_types import without_kernels
from provision.contract.outcome import UNCHANGED
from provision.engines import IN_IMAGE
from provision.errors import DeployError, Exit, HostKeyUnknown
from provision.project.environment import read_environment
from provision.project.toml import DECLARATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provision.hosts import HostSpec

_EXAMPLE = Path(__file__).parent / "examples" / "vast-stack"
_SERVER = Path("build/bin/llama-server")
_ENGINE = "STACK_ENGINE"


def main(folder: Path | None, *, trust: bool, target: str | None, as_json: bool) -> int:
    """Deploy, check from here, and say how to reach what runs. The exit code."""
    project = folder or (Path() if Path("deploy.toml").exists() else _EXAMPLE)
    env_file = next((file for file in (project / ".env", Path(".env")) if file.exists()), None)
    try:
        known = read_environment(env_file or Path(".env"), ".env", os.environ, required=False).variables
        target = target or _target(declared_targets(project), known)

        def begin() -> Session:
            return Session(as_json=as_json, directory=project, target=target, secrets=True, env_file=env_file)

        with begin() as session, rented(session):
            for spec in session.deployment.hosts:  # .env and deploy.toml are judged before anything takes time
                _know(session, spec, trust=trust)
            if _ENGINE in known and not _lacks_server(session):
                return _deploy(session)
            profile = "cuda" if _gpus(session, env_file, known) else "portable"
            if _ENGINE in known or _ENGINE not in os.environ:
                return _deploy(session, profile)
            with begin() as session:  # its engine is another one now
                return _deploy(session, profile)
    except (DeployError, OSError, KeyboardInterrupt) as error:
        return tell(error, as_json=as_json)


def _target(targets: Mapping[str, Mapping[str, object]], known: Mapping[str, str]) -> str:
    """The instance that .env names; where it names none, and an account, the machine that is rented from that."""
    with_provider = [name for name, target in targets.items() if target.get("provider")]
    if with_provider and "vast" not in with_provider and known.get("VAST_API_KEY") and not known.get("VAST_HOST"):
        return with_provider[0]
    return "vast"


def _deploy(session: Session, profile: str = "portable") -> int:
    deployment, project = session.deployment, session.directory
    if _lacks_server(session):
        _build(session, profile)
    with session.interruptible() as interrupt:
        outcomes = rollout.up(deployment, interrupt=interrupt)
        # What runs unchanged was looked at just now, and passed from here before; `deploy smoke` asks it again.
        releases, key = {each.plan.release for each in outcomes}, f"{session.target} from here"
        proven = {each.outcome for each in outcomes} == {UNCHANGED} and releases <= {*seen.releases(project, key)}
        reports = [] if proven else rollout.smoke(deployment)
    failed = [report for report in reports if not report.outcome.passed]
    if not failed:
        seen.remember(project, key, releases)
    for report in failed:
        session.console.note(f"{report.host}: {report.outcome.sentence}")
    for spec in deployment.hosts:
        command = tunnel_command(spec, session.ports("stable"))
        session.console.answer(
            {"event": "tunnel", "host": spec.name, "command": command, "ports": session.ports("stable")},
            [f"to reach {', '.join(session.ports('stable'))}:", f"  {command}"],
        )
    if deployment.target.provider:
        session.tell_outcomes(outcomes)
    return Exit.FAILED if failed else Exit.DONE


def _gpus(session: Session, env_file: Path | None, known: Mapping[str, str]) -> bool:
    """Whether every host has a GPU that the model is to be served from; its engine is then chosen, unless it was."""
    loaded = session.deployment.loaded
    if not any(service.engine for service in loaded.project.services.values()):
        return False
    hosts = rollout.facts(session.deployment)
    if not all(host["gpus"] for host in hosts):
        return False
    names = ", ".join(sorted({gpu["name"] for host in hosts for gpu in host["gpus"]}))
    brought = all(host["machine"]["tools"].get("llama-server") == IN_IMAGE for host in hosts)
    engine = "image" if brought else "build"
    for model in session.deployment.release.models:
        for text in without_kernels(model.relative, model.tensor_types):
            session.console.event({"event": "warning", "host": "", "text": text})
    if _ENGINE not in known and f"${{{_ENGINE}" in (session.directory / DECLARATION).read_text(encoding="utf-8"):
        os.environ[_ENGINE] = engine
        if env_file:
            text = env_file.read_text(encoding="utf-8")
            env_file.write_text(f"{text.rstrip()}\n{_ENGINE}={engine}\n", encoding="utf-8")
        session.console.note(f"{names}: the model is served from it, by engine {engine}; .env: {_ENGINE}={engine}")
    else:
        for name, service in loaded.project.services.items():
            if service.engine == "wheel":
                session.console.note(f'{name} uses no {names}; with engine = "{engine}" it does')
    return True


def _lacks_server(session: Session) -> bool:
    """Whether the project ships a llama-server that has not been compiled yet."""
    wanted = {service.binary for service in session.deployment.loaded.project.services.values()}
    return str(_SERVER) in wanted and not (session.directory / _SERVER).exists()


def _build(session: Session, profile: str) -> None:
    """That llama-server, with CUDA, or for any processor with AVX2."""
    from provision import native

    with session.console.live():
        native.build(
            profile,
            targets=["llama-server"],
            root=session.directory.absolute(),
            on_event=session.console.event,
        )


def _know(session: Session, spec: HostSpec, *, trust: bool) -> None:
    """A machine that was just rented is new to everybody: its key is pinned once a person has agreed."""
    from provision.cli.trust import pin_shown_key
    from provision.hosts import connect
    from provision.hosts.known_hosts import lookup_name, pinned, read_pins

    if pinned(read_pins(spec.known_hosts), lookup_name(spec.address, spec.port)):
        return
    try:
        connect(spec).close()
    except HostKeyUnknown:
        compare = "compare it with the instance's log, then: python deploy_vast.py --trust"
        key = pin_shown_key(session.console, spec, yes=trust, next_step=compare)
        session.console.note(f"{spec.name}: pinned {key.fingerprint} in {spec.known_hosts[0]}")


def tunnel_command(spec: HostSpec, ports: dict[str, int]) -> str:
    """The ssh command that brings `ports` of the host to this machine."""
    identity = ["-i", str(spec.identity)] if spec.identity else []
    forwards = [word for port in ports.values() for word in ("-L", f"{port}:127.0.0.1:{port}")]
    user = f"{spec.user}@" if spec.user else ""
    return shlex.join(["ssh", "-N", "-p", str(spec.port or 22), *identity, *forwards, f"{user}{spec.address}"])


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option("--trust", is_flag=True, help="Pin the host key that the instance shows, without asking.")
@click.option("--target", help="The target in deploy.toml; without it vast, or the one that rents its machines.")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines on stdout, nothing else.")
@click.pass_context
def command(context: click.Context, folder: Path | None, trust: bool, target: str | None, as_json: bool) -> None:
    context.exit(main(folder, trust=trust, target=target, as_json=as_json))


if __name__ == "__main__":
    command()
