"""`deploy up`."""

from __future__ import annotations

import click

from provision import rollout
from provision.cli.hooks import hooked
from provision.cli.session import Session
from provision.cli.verb import verb


@verb("up", example="deploy up\ndeploy up --channel canary && deploy promote", secrets=True)
@click.option("--channel", type=click.Choice(["stable", "canary"]), default="stable", show_default=True)
@click.option(
    "--take-over",
    metavar="PROJECT",
    default="",
    help="Take the place of that project in the target's path: end its services. So after a project was renamed.",
)
@click.option("--again", metavar="NAME", multiple=True, help="Run once.NAME although it ran for this release.")
@click.option("--done", metavar="NAME", multiple=True, help="Take once.NAME for done: somebody has looked.")
def command(session: Session, channel: str, take_over: str, again: tuple[str, ...], done: tuple[str, ...]) -> None:
    """Ship the project, prove it, and let users reach it; or put everything back.

    Only services that changed are restarted. `--channel canary` runs the release beside stable, on ports of its own.
    A target with a provider has the machines rented that it lacks, within its budget. At the end it says what was
    restarted, how long users waited for that, and where each service is reached.
    Ctrl-C once puts everything back; twice leaves the hosts to finish alone.
    """
    with hooked(session, channel) as outcomes:
        if session.deployment.target.provider:
            with session.console.live():
                for machine, _ in session.deployment.machines.rent():
                    session.console.note(f"{machine.id} is rented, for ${machine.per_hour:.3f} an hour")
        with session.interruptible() as interrupt:
            outcomes += rollout.up(
                session.deployment,
                channel,
                interrupt=interrupt,
                hosts=session.hosts,
                take_over=take_over,
                again=again,
                done=done,
            )
    session.tell_outcomes(outcomes)
