"""Checks from outside: asked from here, through a tunnel, as a user's request would come.

A check that sends a secret is asked on the host, which has it: nobody here need know it, and it stays there.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from provision.contract.answers import Probed
from provision.contract.slots import home, services_in
from provision.hosts import HostSpec, run_on_hosts
from provision.rollout.moves import chosen, values
from provision.targets import Deployment, HostSession, open_session

if TYPE_CHECKING:
    from provision.agent import checks
    from provision.contract.checks import CheckDocument

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class CheckReport:
    """One check on one host."""

    host: str
    outcome: checks.Outcome


def smoke(deployment: Deployment, channel: str = "stable", hosts: Sequence[str] | None = None) -> list[CheckReport]:
    """Every check of `channel`, asked from here; what is a command, or sends a secret, runs on the host."""
    document = deployment.release.document
    started = [service for service in services_in(document, home(channel)) if not service["on_demand"]]
    wanted = [(service["program"], check) for service in started for check in service["checks"]]
    wanted += [("", check) for check in document["lanes"][channel]["checks"]]

    def look(spec: HostSpec) -> list[CheckReport]:
        with open_session(deployment, spec) as session, ExitStack() as open_tunnels:
            tunnels: dict[int, int] = {}
            return [
                CheckReport(spec.name, _probe(session, open_tunnels, tunnels, channel, program, check))
                for program, check in wanted
            ]

    return [report for reports in values(run_on_hosts(chosen(deployment, hosts), look)) for report in reports]


def _probe(
    session: HostSession,
    open_tunnels: ExitStack,
    tunnels: dict[int, int],
    channel: str,
    program: str,
    check: CheckDocument,
) -> checks.Outcome:
    from provision.agent import checks

    if check["kind"] == "command" or check.get("token"):
        answer = session.conversation.ask(
            {"op": "probe", "check": check, "channel": channel, "program": program}, Probed
        )["check"]
        outcome = checks.Outcome(
            name=answer["check"],
            passed=answer["passed"],
            seconds=answer["seconds"],
            attempts=tuple((text, count) for text, count in answer["attempts"]),
            facts=answer["facts"],
        )
    else:
        outcome = checks.prove(_through(session, open_tunnels, tunnels, check))
    session.deployment.on_event({**checks.event(outcome, ""), "host": session.spec.name})
    return outcome


def _through(
    session: HostSession, open_tunnels: ExitStack, tunnels: dict[int, int], check: CheckDocument
) -> CheckDocument:
    """`check` with the host's own addresses replaced by local ends of tunnels."""

    def local(port: int) -> int:
        if port not in tunnels:
            tunnels[port] = open_tunnels.enter_context(session.connection.forward(port)).local_port
        return tunnels[port]

    if check["kind"] == "tcp":
        if check["host"] not in _LOOPBACK:
            return check
        return {**check, "host": "127.0.0.1", "port": local(check["port"])}
    if check["kind"] == "command":
        return check
    parts = urlsplit(check["url"])
    if parts.hostname not in _LOOPBACK or parts.port is None:
        return check
    url = parts._replace(netloc=f"127.0.0.1:{local(parts.port)}").geturl()
    if check["kind"] == "http":
        return {**check, "url": url}
    return {**check, "url": url}  # each of its own type
