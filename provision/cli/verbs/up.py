"""`deploy up`."""

from __future__ import annotations

import click

from provision import rollout
from provision.cli.github.forks import refuse_fork
from provision.cli.hooks import hooked
from provision.cli.moving import CHANNEL, asked_channel, weight_of
from provision.cli.render.preview import preview_lines
from provision.cli.renting import rented
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import DeployError, UsageError


@verb(
    "up",
    example="deploy up\ndeploy up --channel canary --weight 5%\ndeploy up --preview pr-7 --until 3d",
    secrets=True,
    preview=True,
)
@click.option("--channel", type=click.Choice(["stable", "canary"]), help=CHANNEL)
@click.option("--weight", metavar="SHARE", help="--channel canary: the share of the clients, by hand, such as 5%.")
@click.option("--abort-rollout", is_flag=True, help="End the rollout that is under way, instead of being refused.")
@click.option(
    "--take-over",
    metavar="PROJECT",
    default="",
    help="Take the place of that project in the target's path: end its services. So after a project was renamed.",
)
@click.option("--again", metavar="NAME", multiple=True, help="Run once.NAME although it ran for this release.")
@click.option("--done", metavar="NAME", multiple=True, help="Take once.NAME for done: somebody has looked.")
@click.option("--until", metavar="TIME", help="How long the preview is wanted from now on: 8h, 3d.")
def command(
    session: Session,
    channel: str | None,
    weight: str | None,
    abort_rollout: bool,
    take_over: str,
    again: tuple[str, ...],
    done: tuple[str, ...],
    until: str | None,
) -> None:
    """Ship the project, prove it, and let users reach it; or put everything back.

    Only services that changed are restarted. `--channel canary` runs the release beside stable, for those who are let
    to it. Where the target declares steps of a rollout, `up` begins one: the host lets more and more clients to the
    canary, judges it by what they see, and promotes it or takes them back; `--channel stable` asks nobody.
    A target with a provider has the machines rented that it lacks, within its budget. At the end it says what was
    restarted, how long users waited for that, and where each service is reached.
    Ctrl-C once puts everything back; twice leaves the hosts to finish alone.

    `--preview NAME` runs it beside everything else, in a folder, under names and on ports of its own. `deploy down
    --preview NAME` ends it; after `--until` the next `deploy up` of anybody does, or `deploy down --expired`.
    """
    refuse_fork("a preview is not deployed" if session.preview else "nothing is deployed")
    if session.preview:
        if channel == "canary" or weight or abort_rollout or take_over:
            raise UsageError("a preview has no canary, and takes nobody's place.", next_step="leave that option out")
        with hooked(session, "stable"), session.interruptible() as interrupt:
            for event in rollout.up_preview(
                session.itself,
                session.preview,
                _seconds(until),
                interrupt,
                session.hosts,
                again=again,
                done=done,
            ):
                session.console.answer(event, preview_lines(event))
            _end_expired(session)
        return
    if until is not None:
        raise UsageError("--until is for a preview.", next_step=f"deploy up --preview NAME --until {until}")
    to, share = asked_channel(session, channel), weight_of(weight)
    with hooked(session, to or "canary") as outcomes, rented(session), session.interruptible() as interrupt:
        outcomes += rollout.up(
            session.itself,
            to,
            interrupt=interrupt,
            hosts=session.hosts,
            take_over=take_over,
            again=again,
            done=done,
            share=share,
            abort_rollout=abort_rollout,
        )
        _end_expired(session)
    session.tell_outcomes(outcomes)


def _seconds(until: str | None) -> float | None:
    from provision.project.units import parse_seconds

    try:
        return None if until is None else parse_seconds(until)
    except ValueError as error:
        raise UsageError(f"--until {until}: {error}.", next_step="--until 3d") from None


def _end_expired(session: Session) -> None:
    """What this `up` did stays done, whatever becomes of others' previews."""
    if not session.itself.expired:
        return
    try:
        for name in rollout.down_expired(session.itself, None, session.hosts):
            session.console.note(f"the preview {name} was wanted no more, and has ended")
    except DeployError as error:
        session.console.event({"event": "warning", "host": error.host, "text": f"an old preview did not end: {error}"})
