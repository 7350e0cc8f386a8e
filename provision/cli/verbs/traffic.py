"""`deploy traffic`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from provision import rollout
from provision.cli.failures import as_event
from provision.cli.github.forks import refuse_fork
from provision.cli.looking import again, show
from provision.cli.moving import share_of
from provision.cli.render.traffic import steered_lines, traffic_lines
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.contract.slots import CANARY, STABLE
from provision.errors import Exit, UsageError
from provision.project.fault import nearest
from provision.rollout import HostTraffic, Unreached

if TYPE_CHECKING:
    from provision.rollout import Steered

_MOST_MINUTES = 24 * 60


@verb("traffic", example="deploy traffic\ndeploy traffic --watch --minutes 1\ndeploy traffic canary=25%")
@click.argument("words", nargs=-1, metavar="[TARGET] [LANE=SHARE]")
@again(2.0)
@click.option(
    "--minutes",
    type=click.IntRange(1, _MOST_MINUTES),
    default=10,
    show_default=True,
    help="The figures are of that many last minutes.",
)
def command(session: Session, words: tuple[str, ...], watch: bool, every: float, minutes: int) -> int:
    """Show who gets which request, and how that went; or move clients to the canary.

    By service and lane: the share of the clients, requests in flight, how many there were, how many failed, how long
    the first byte of an answer took, and of an engine its tokens a second; also what is held, and what ends its last
    requests.

    `canary=25%` moves clients at once, from 0% (only who sends the header X-Lane: canary) to 100%; a client stays with
    its lane otherwise. It holds until another release is the canary. While a rollout runs, that gives the shares.
    """
    share = share_asked(session, words)
    if share is not None:
        if watch:
            raise UsageError("--watch looks, and a share changes something.", next_step="one after the other")
        refuse_fork("nobody's requests are moved")
        with session.console.live():
            done = rollout.weigh(session.deployment, share, session.hosts)
        for each in done:
            session.console.answer(steered_event(each), steered_lines(each))
        return Exit.DONE
    with rollout.watched_traffic(session.deployment, minutes, session.hosts) as hosts:
        return _exit(show(session, hosts.look, _event, _lines, every if watch else None))


def steered_event(done: Steered) -> dict[str, Any]:
    """What a request that moves no release came to on a host, for programs."""
    return {
        "event": "result",
        "host": done.host,
        "outcome": done.outcome,
        "shares": done.shares,
        "rollout": done.rollout,
    }


def share_asked(session: Session, words: Sequence[str]) -> float | None:
    """The share that the canary is to have, where one is said; a target that is named is meant from now on."""
    said = [word for word in words if "=" in word]
    places = [word for word in words if word not in said]
    if len(said) > 1 or len(places) > 1:
        raise UsageError(
            f"{' '.join(words)}: one target, and one lane's share.", next_step="deploy traffic TARGET canary=25%"
        )
    for place in places:
        session.name_target(place)
    if not said:
        return None
    lane, _, text = said[0].partition("=")
    if lane == STABLE:
        raise UsageError(
            "stable has what the canary leaves.", next_step="say what the canary is to have: deploy traffic canary=25%"
        )
    if lane != CANARY:
        raise UsageError(f'no lane is called "{lane}".', why=nearest(lane, [CANARY, STABLE], "lanes"))
    return share_of(text, said[0], "deploy traffic canary=25%")


def _lines(item: HostTraffic | Unreached) -> list[str]:
    if isinstance(item, Unreached):
        return [f"{item.host}: unreachable: {item.error.what}", f"  next: {item.next}"]
    return [*traffic_lines(item.host, item.answer)]


def _event(item: HostTraffic | Unreached) -> dict[str, Any]:
    event: dict[str, Any] = {"event": "traffic", "host": item.host}
    if isinstance(item, Unreached):
        return {**event, "error": as_event(item.error)}
    answer: dict[str, Any] = {**item.answer}
    return {**event, **{key: answer[key] for key in ("keeper", "generation", "since", "services", "rollout")}}


def _exit(found: Sequence[HostTraffic | Unreached]) -> Exit:
    return Exit.SOME_HOSTS_FAILED if any(isinstance(item, Unreached) for item in found) else Exit.DONE
