"""`deploy rollout`: watch, pause, resume, abort, promote."""

from __future__ import annotations

import click

from provision import rollout
from provision.cli.github.forks import refuse_fork
from provision.cli.render.traffic import steered_lines
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.cli.verbs.traffic import steered_event
from provision.rollout import Action


@click.group("rollout")
def command() -> None:
    """See how a canary whose share grows by steps is judged, and say what becomes of it."""


@verb("watch", example="deploy rollout watch\ndeploy rollout watch --json | jq .says", place=True)
@click.option(
    "--every",
    type=click.FloatRange(1.0, 3600.0),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait between two looks.",
)
def watch(session: Session, every: float) -> int:
    """Show each step as it goes, its figures against the limits, and what it waits for; end with the verdict.

    The host takes the steps by itself: Ctrl-C ends the watching and nothing else, and a host that is away for a while
    is asked again. Of several hosts, those that wait for others are let begin when their turn comes. The exit status is
    0 where it was promoted, or has passed and waits for a signature; 1 where it was aborted, or is held until somebody
    says what follows; 3 where some hosts have promoted it and others have not.
    """
    from provision.cli.judging import watch as watch_it

    return watch_it(session, every)


@verb("pause", example="deploy rollout pause", place=True)
def pause(session: Session) -> None:
    """Stop the clock: the canary keeps the share that it has, and nothing is judged."""
    _steer(session, "pause")


@verb("resume", example="deploy rollout resume", place=True)
def resume(session: Session) -> None:
    """Go on with the step where it was paused; one that was held begins anew.

    Of several hosts, those begin whose turn has come; one that is named with --host begins whether it has or not.
    """
    _steer(session, "resume")


@verb("abort", example="deploy rollout abort && deploy logs --channel canary", place=True)
def abort(session: Session) -> None:
    """Give stable all requests again. The canary stays as it runs, for who sends the header X-Lane: canary."""
    _steer(session, "abort")


@verb("promote", example="deploy rollout promote", place=True)
def promote(session: Session) -> None:
    """Let everybody to the canary now, whatever steps are left.

    The host does it, proven as ever. Where the target requires evidence this signs and promotes, as `deploy promote`
    does, so that it takes the key.
    """
    if session.deployment.target.require:
        from provision.cli.promoting import promote_canary

        session.tell_outcomes(promote_canary(session))
        return
    _steer(session, "promote")


def _steer(session: Session, action: Action) -> None:
    refuse_fork("no rollout is changed")
    with session.console.live():
        done = rollout.steer(session.deployment, action, session.hosts)
    for each in done:
        session.console.answer(steered_event(each), steered_lines(each))


for _verb in (watch, pause, resume, abort, promote):
    command.add_command(_verb)
