"""Checks from outside: asked from here, through a tunnel, as a user's request would come.

A check that sends a secret is asked on the host, which has it: nobody here need know it, and it stays there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from provision.contract.answers import Probed
from provision.contract.slots import services_of
from provision.hosts import Forbidden, HostSpec, Tunnel, run_on_hosts
from provision.rollout.moves import chosen, values
from provision.targets import Deployment, HostConversation, open_session

if TYPE_CHECKING:
    from provision.agent import checks
    from provision.contract.checks import CheckDocument

_Seen = Callable[[str, int | None], tuple[str, int | None]]  # a host's address -> where it is, seen from here

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class CheckReport:
    """One check on one host."""

    host: str
    outcome: checks.Outcome


def smoke(deployment: Deployment, channel: str = "stable", hosts: Sequence[str] | None = None) -> list[CheckReport]:
    """Every check of `channel`, asked from here; what is a command, or sends a secret, runs on the host."""
    document = deployment.release.document
    started = [service for service in services_of(document, channel) if not service["on_demand"]]
    wanted = [(service["program"], check) for service in started for check in service["checks"]]
    wanted += [("", check) for check in document["lanes"][channel]["checks"]]

    def look(spec: HostSpec) -> list[CheckReport]:
        with open_session(deployment, spec) as session, ExitStack() as open_tunnels:
            tunnels: list[Tunnel] = []
            at = _tunnels(session, open_tunnels, tunnels)
            reports = []
            for program, check in wanted:
                outcome = _probe(session, at, channel, program, check)
                for tunnel in tunnels:
                    if not outcome.passed and isinstance(tunnel.last_error, Forbidden):
                        raise tunnel.last_error
                reports.append(CheckReport(spec.name, outcome))
            return reports

    return [report for reports in values(run_on_hosts(chosen(deployment, hosts), look)) for report in reports]


def _probe(session: HostConversation, at: _Seen, channel: str, program: str, check: CheckDocument) -> checks.Outcome:
    from provision.agent import checks
    from provision.agent.checks.here import Here
    from provision.project.checks import KINDS  # with pydantic, which the connection does not wait for

    if KINDS[check["kind"]].on_host or check.get("token"):
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
        outcome = checks.prove(check, Here(at=at))
    session.deployment.on_event({**checks.event(outcome, ""), "host": session.spec.name})
    return outcome


def _tunnels(session: HostConversation, opened: ExitStack, tunnels: list[Tunnel]) -> _Seen:
    """Where the host's own addresses are here: at local ends of `tunnels`, of which each port gets one."""

    @cache
    def local(port: int) -> int:
        tunnels.append(opened.enter_context(session.connection.forward(port)))
        return tunnels[-1].local_port

    def at(host: str, port: int | None) -> tuple[str, int | None]:
        return (host, port) if host not in _LOOPBACK or port is None else ("127.0.0.1", local(port))

    return at
