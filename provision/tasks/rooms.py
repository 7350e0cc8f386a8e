"""The rooms of a project on the hosts of its target."""

from __future__ import annotations

import shlex
from typing import Literal

from invoke.exceptions import Exit as FabricExit

from provision import rollout
from provision.cli.hooks import hooked
from provision.cli.promoting import promote_canary
from provision.cli.render.plan import plan_lines
from provision.cli.render.status import entry_lines, status_lines
from provision.cli.session import Session
from provision.errors import Exit, UsageError
from provision.hosts import SANDBOX
from provision.targets import HostOutcome, sandbox
from provision.tasks.room import room

Channel = Literal["stable", "canary"]
_CHANNEL = "stable or canary."
_MOST_LINES = 100_000


@room(secrets=True, channel=_CHANNEL, take_over="As `up --take-over PROJECT` would.")
def plan(session: Session, channel: Channel = "stable", take_over: str = "") -> list[rollout.HostPlan]:
    """Show what up would do; change nothing."""
    with session.console.live():
        plans = rollout.plan(session.deployment, channel, hosts=session.hosts, take_over=take_over)
    session.console.answer({}, (line for item in plans for line in plan_lines(item.host, item.plan)))
    if any(item.plan.refused for item in plans):
        raise FabricExit(code=int(Exit.REFUSED))
    return plans


@room(secrets=True, channel=_CHANNEL, take_over="Take the place of that project in the target's path.")
def up(session: Session, channel: Channel = "stable", take_over: str = "") -> list[HostOutcome]:
    """Ship the project, prove it, and let users reach it; or put everything back."""
    with hooked(session, channel) as done, session.interruptible() as interrupt:
        done += rollout.up(session.deployment, channel, interrupt, session.hosts, take_over=take_over)
    return done


@room()
def promote(session: Session) -> list[HostOutcome]:
    """Bring the canary's release to stable, proven again."""
    return promote_canary(session)


@room(release="The beginning of its id (default: the one before).")
def rollback(session: Session, release: str = "") -> list[HostOutcome]:
    """Go back to the release before this one, or to a named one."""
    with session.interruptible() as interrupt:
        return rollout.rollback(session.deployment, release, interrupt, session.hosts)


@room(channel="Only this one, stable or canary (default: both).")
def down(session: Session, channel: Literal["", "stable", "canary"] = "") -> list[HostOutcome]:
    """Stop the project's services and remove them from the supervisor."""
    with session.interruptible() as interrupt:
        outcomes = rollout.down(session.deployment, channel, interrupt, session.hosts)
    throwaway = not channel and [host.text for host in session.deployment.target.hosts] == [SANDBOX]
    if throwaway and sandbox.stop(session.directory.absolute()):
        session.console.note("the throwaway host was ended")
    return outcomes


@room()
def status(session: Session) -> list[rollout.Standing]:
    """Show what runs, since which release, and whether it is healthy."""
    with session.console.live(), rollout.watched(session.deployment, session.hosts) as hosts:
        found = hosts.look()
    session.console.answer({}, (line for item in found for line in status_lines(item)))
    if code := rollout.worst(found):
        raise FabricExit(code=int(code))
    return found


@room()
def history(session: Session) -> list[rollout.HostEntry | rollout.HostFailed]:
    """Show what was deployed, by whom, and how it ended."""
    with session.console.live():
        entries = rollout.history(session.deployment, session.hosts)
    told = [(entry["host"], entry_lines(entry)) for entry in entries]
    lines = [line for host, (first, *more) in told for line in (f"{host}: {first}", *more)]
    session.console.answer({}, lines or "nothing was deployed yet")
    return entries


@room(channel=_CHANNEL)
def smoke(session: Session, channel: Channel = "stable") -> list[rollout.CheckReport]:
    """Run the checks from here, through a tunnel."""
    with session.console.live():
        reports = rollout.smoke(session.deployment, channel, session.hosts)
    failed = [report for report in reports if not report.outcome.passed]
    for report in failed:
        session.console.note(f"{report.host}: {report.outcome.sentence}")
    session.console.answer({}, f"{len(reports) - len(failed)} of {len(reports)} checks passed")
    if failed:
        raise FabricExit(code=int(Exit.FAILED))
    return reports


@room(service="Whose.", lines="How many.", follow="Go on with new ones until Ctrl-C.", channel=_CHANNEL)
def logs(session: Session, service: str, lines: int = 100, follow: bool = False, channel: Channel = "stable") -> None:
    """Show the last lines of a service's log on one host."""
    if not 1 <= lines <= _MOST_LINES:
        raise UsageError(f"--lines {lines}: expected 1 to {_MOST_LINES}.")
    deployment, host = session.deployment, _one_host(session)
    found = rollout.logs(
        deployment, [service], lines=lines, follow=follow, channel=channel, hosts=[host] if host else None
    )
    for each in found:
        session.console.answer({}, each.line)


@room(
    "exec",
    command='As one argument: "ls -la". No shell reads it; for a pipe, run sh -c.',
    service="On a Docker Engine: in whose container; the only one by default.",
    on_host="On the host itself, on a Docker Engine as well.",
)
def execute(session: Session, command: str, service: str = "", on_host: bool = False) -> None:
    """Run a command in the release that serves, on one host; its exit status is this task's."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"{command}: is no command.", why=f"{error}.") from None
    if not words:
        raise UsageError("which command?", next_step='fab exec "ls -la"')
    status = rollout.execute(session.deployment, words, _one_host(session), service=service, on_host=on_host)
    if status:
        raise FabricExit(code=status)


def _one_host(session: Session) -> str | None:
    """The one that was named; None where none was, and the target's only one is meant."""
    if len(session.hosts) > 1:
        raise UsageError("this is for one host at a time.", next_step=f"fab -H {session.hosts[0]} …")
    return session.hosts[0] if session.hosts else None
