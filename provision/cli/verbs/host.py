"""`deploy host`: trust, facts, bootstrap."""

from __future__ import annotations

import click

from provision.cli.github.forks import refuse_fork
from provision.cli.session import Session
from provision.cli.verb import verb


@click.group("host")
def command() -> None:
    """Pin host keys, see what a host has, install what it lacks, mend its folders."""


@verb("trust", example="deploy host trust\ndeploy host trust gpu-03 --fingerprint SHA256:Qx…")
@click.argument("names", nargs=-1)
@click.option("--fingerprint", metavar="SHA256:…", help="Pin only this key; no question is asked.")
@click.option("--replace", is_flag=True, help="Forget the host's other keys: the machine was rebuilt.")
@click.option("--yes", is_flag=True, help="Pin what is shown without asking.")
def trust(session: Session, names: tuple[str, ...], fingerprint: str | None, replace: bool, yes: bool) -> None:
    """Pin the keys of hosts, once somebody has compared them.

    They go into known_hosts in the project's folder, so that the team shares them; ~/.ssh is not changed.
    """
    from provision.cli.preparing import trust_hosts

    session.hosts += names
    trust_hosts(session, fingerprint=fingerprint or "", replace=replace, yes=yes)


@verb("facts", example="deploy host facts\ndeploy host facts --json | jq .machine.cpu.features")
@click.argument("names", nargs=-1)
def facts(session: Session, names: tuple[str, ...]) -> None:
    """Show what hosts are and have: processor, memory, GPUs, disk, tools, releases."""
    from provision import rollout
    from provision.cli.render.facts import facts_lines

    session.hosts += names
    with session.console.live():
        found = rollout.facts(session.deployment, hosts=session.hosts)
    for item in found:
        session.console.answer({"event": "facts", **item}, facts_lines(item))


@verb("bootstrap", example="deploy host bootstrap gpu-03")
@click.argument("names", nargs=-1)
@click.option("--yes", is_flag=True, help="Run the commands without asking.")
def bootstrap(session: Session, names: tuple[str, ...], yes: bool) -> None:
    """Install what hosts lack (rsync, python3, a supervisor) with their own package manager.

    The commands are shown first, and run only when you agree.
    """
    from provision.cli.preparing import bootstrap_hosts

    refuse_fork("nothing is changed on hosts")
    session.hosts += names
    bootstrap_hosts(session, yes=yes)


@verb("mend", example="deploy host mend\ndeploy host mend gpu-03 --target fleet")
@click.argument("names", nargs=-1)
def mend(session: Session, names: tuple[str, ...]) -> None:
    """Make the target's folder one that nobody else can write to, so that it can be trusted.

    What is ours is closed to others; what is another account's is set aside, not believed, not removed. Services whose
    files cannot be shown to be ours are ended, and `deploy up` starts them again.
    """
    from provision import rollout
    from provision.cli.render.mended import mended_lines

    refuse_fork("nothing is changed on hosts")
    session.hosts += names
    with session.console.live():
        found = rollout.mend(session.deployment, hosts=session.hosts)
    for item in found:
        session.console.answer(item, mended_lines(item))


for _verb in (trust, facts, bootstrap, mend):
    command.add_command(_verb)
