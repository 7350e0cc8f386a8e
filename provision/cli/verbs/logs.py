"""`deploy logs`."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

import click

from provision import rollout
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import UsageError
from provision.project.units import parse_seconds

if TYPE_CHECKING:
    from provision.rollout import LogLine


@verb(
    "logs",
    example="deploy logs\ndeploy logs llama --follow --host gpu-03\ndeploy logs --since 15m --channel candidate",
    preview=True,
)
@click.argument("services", nargs=-1)
@click.option("-n", "--lines", type=click.IntRange(1, 100_000), help="Of each service, the last ones (default: 100).")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until Ctrl-C.")
@click.option("--since", metavar="WHEN", default="", help="Nothing older: 90s, 15m, 2h, 1d, or 2026-11-30T02:10.")
@click.option(
    "--channel",
    type=click.Choice(["stable", "canary", "candidate"]),
    default="stable",
    show_default=True,
    help="candidate: the copy that was last proven beside the old one, also where it failed.",
)
def command(
    session: Session, services: tuple[str, ...], lines: int | None, follow: bool, since: str, channel: str
) -> None:
    """Show the last lines of services' logs.

    Of all services on all hosts, or those named; each line behind whose it is, where that is not clear. `api` means all
    of its copies, `api.2` the second.
    """
    ago = seconds_ago(since) if since else 0.0
    found = rollout.logs(
        session.deployment,
        services,
        lines=lines,
        ago=ago,
        follow=follow,
        channel=channel,
        hosts=session.hosts,
    )
    whose = _Whose(session, services, channel)
    each = None
    for each in found:
        session.console.relay({"event": "log", "host": each.host, "service": each.service}, each.line, whose(each))
    if each is None:
        session.console.note(f"nothing was written{' since then' if since else ''}")


class _Whose:
    """What stands before a line: its host where there are several, its service where there are several."""

    def __init__(self, session: Session, services: tuple[str, ...], channel: str) -> None:
        from provision.rollout.logs import programs

        hosts = [spec.name for spec in session.specs]
        names = list(programs(session.deployment, services, channel).values())
        self._hosts = max(map(len, hosts)) if len(hosts) > 1 else 0
        self._services = max(map(len, names)) if len(names) > 1 else 0

    def __call__(self, line: LogLine) -> str:
        parts = [line.host.ljust(self._hosts)] if self._hosts else []
        return " ".join([*parts, line.service.ljust(self._services)] if self._services else parts)


def seconds_ago(when: str) -> float:
    """How long ago `when` is.

    Raises:
        UsageError: it says no time, or one that is not over yet.
    """
    try:
        ago = parse_seconds(when)
    except ValueError:
        try:
            ago = time.time() - datetime.fromisoformat(when).timestamp()
        except (ValueError, OverflowError):
            raise UsageError(
                f"--since {when}: is no time.", next_step="--since 15m, or --since 2026-11-30T02:10"
            ) from None
    if ago <= 0:
        raise UsageError(f"--since {when}: that is not over yet.", next_step="--since 15m")
    return ago
