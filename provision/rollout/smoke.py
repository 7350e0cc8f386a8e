"""Checks from outside: asked from here, through a tunnel, as a user's request would come.

A check that sends a secret is asked on the host, which has it: nobody here need know it, and it stays there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from provision.contract import roles
from provision.contract.answers import Probed
from provision.contract.slots import services_of, stable_names
from provision.contract.state import State, from_dict
from provision.errors import Refused
from provision.hosts import Forbidden, HostSpec, Tunnel, run_on_hosts
from provision.rollout.hosts import chosen, values
from provision.rollout.proof import demand_keys
from provision.targets import Deployment, HostConversation, open_session

if TYPE_CHECKING:
    from provision.agent import checks
    from provision.contract.answers import Facts
    from provision.contract.checks import CheckDocument
    from provision.contract.release import ReleaseDocument, ServiceDocument
    from provision.contract.requests import Probe
    from provision.images.promotion.evidence import Evidence

_Seen = Callable[[str, int | None], tuple[str, int | None]]  # a host's address -> where it is, seen from here

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class CheckReport:
    """One check on one host."""

    host: str
    outcome: checks.Outcome


def smoke(
    deployment: Deployment,
    channel: str = "stable",
    hosts: Sequence[str] | None = None,
    *,
    sign: bool = False,
    anew: bool = False,
) -> list[CheckReport]:
    """Every check of `channel`, asked from here; what is a command, or sends a secret, runs on the host.

    Of what is on demand, those alone that have it started.

    Args:
        sign: whether what they saw becomes evidence about the release that each host has there.
        anew: whether nothing counts that is older than that.

    Raises:
        UsageError: it is to be signed, and there is no key.
        Refused: it is to be signed, and there is no such release, or one with checks that are none of this folder's.
    """
    signing = demand_keys(deployment) if sign else None

    def look(spec: HostSpec) -> list[CheckReport]:
        with open_session(deployment, spec, install=sign) as session:
            if signing is None:
                document = deployment.release.document
                state = from_dict(session.facts({})["project"]["state"]) if "traffic" in document else State()
                return _ask(session, channel, document, state)
            began = datetime.now(UTC).replace(microsecond=0)
            facts = session.facts({"documents": [channel], "host": True})
            release = facts["project"]["state"].get("channels", {}).get(channel)
            if release is None:
                raise Refused(f"{channel} has no release that could be proven.", host=spec.name)
            document = facts["project"]["documents"][release]
            _demand_ours(session, channel, document)
            reports = _ask(session, channel, document, from_dict(facts["project"]["state"]))
            evidence = _evidence(session, channel, facts, reports, began)
            kept = ask_evidence(session, [release]).get(release, {"records": [], "signed": []})
            signing.put(session, release, kept, replace(evidence, anew=anew))
            return reports

    from provision.targets.signing import ask_evidence  # with cryptography, where something is signed

    return [report for reports in values(run_on_hosts(chosen(deployment, hosts), look)) for report in reports]


def _demand_ours(session: HostConversation, channel: str, document: ReleaseDocument) -> None:
    """What is asked from here is what the project declares: no host decides where this machine sends requests.

    Raises:
        Refused: the host's release has another check.
    """
    own = session.deployment.release.document
    ours = [each for lane in own["lanes"] for each in _every_check(own, channel, services_of(own, lane))]
    for program, check in _every_check(document, channel, services_of(document, channel)):
        if (program, check) not in ours:
            raise Refused(
                f"{channel} has a check that this folder does not declare so: {check['name']}.",
                host=session.spec.name,
                why="Checks are asked from here, so it is not the host that says what is asked.",
                next_step=f"check out what {channel} was deployed from, or: deploy up --channel {channel}",
            )


def _every_check(
    document: ReleaseDocument, channel: str, services: Sequence[ServiceDocument]
) -> list[tuple[str, CheckDocument]]:
    """The checks of programs, and those of the whole project in a channel."""
    lane = document["lanes"].get(channel)
    checks = [(each["program"], check) for each in services for check in each["checks"]]
    return checks + [("", check) for check in lane["checks"]] if lane else checks


def _ask(session: HostConversation, channel: str, document: ReleaseDocument, state: State) -> list[CheckReport]:
    from provision.project.checks import KINDS

    services = roles.having(document, state, channel)
    on_demand = {each["program"] for each in services if each["on_demand"]}
    wanted = [
        (program, check)
        for program, check in _every_check(document, channel, services)
        if (program not in on_demand or KINDS[check["kind"]].wakes) and not (program and KINDS[check["kind"]].at_start)
    ]
    with ExitStack() as open_tunnels:
        tunnels: list[Tunnel] = []
        at = _tunnels(session, open_tunnels, tunnels)
        reports = []
        for program, check in wanted:
            outcome = _probe(session, at, channel, program, check)
            for tunnel in tunnels:
                if not outcome.passed and isinstance(tunnel.last_error, Forbidden):
                    raise tunnel.last_error
            reports.append(CheckReport(session.spec.name, outcome))
        return reports


def _evidence(
    session: HostConversation, channel: str, facts: Facts, reports: Sequence[CheckReport], began: datetime
) -> Evidence:
    """What was asked from here, and that the programs run, about the release that the host has in `channel`."""
    from provision.images.promotion.evidence import CheckResult, Evidence, OnHost
    from provision.images.promotion.here import actor, where
    from provision.images.promotion.on_hosts import digest_of_release

    deployment, project, machine = session.deployment, facts["project"], facts["host"]
    release = project["state"]["channels"][channel]
    names = stable_names(project["documents"][release])
    outcomes = [report.outcome for report in reports]
    checks = [CheckResult(names.get(one.name, one.name), one.passed, round(one.seconds, 3)) for one in outcomes]
    seen = project["view"]["programs"]
    for name, program in project["state"]["programs"].items():
        if program["lane"] == channel and not program.get("on_demand"):
            runs = name in seen and seen[name]["activity"] == "running"
            checks.append(CheckResult(f"{program['service']} runs", runs))
    hardware = {
        "hostname": machine["hostname"],
        "arch": machine["arch"],
        "cpu": machine["cpu"]["model"],
        "cores": machine["cpu"]["usable"],
        "memory": machine["memory"]["total"],
        "gpus": [gpu["name"] for gpu in facts.get("gpus", [])],
    }
    return Evidence(
        name=deployment.loaded.project.name,
        digest=digest_of_release(release),
        checks=tuple(checks),
        at=datetime.now(UTC).replace(microsecond=0),
        who=actor(),
        where=f"{session.spec.name} of target {deployment.target_name}, asked from {where()}",
        on_host=OnHost(deployment.target_name, session.spec.name, channel, began, hardware),
    )


def _probe(session: HostConversation, at: _Seen, channel: str, program: str, check: CheckDocument) -> checks.Outcome:
    from provision.agent import checks
    from provision.agent.checks.here import Here
    from provision.project.checks import KINDS  # with pydantic, which the connection does not wait for

    if KINDS[check["kind"]].on_host or check.get("token"):
        return on_host(session, channel, program, check)
    outcome = checks.prove(check, Here(at=at))
    session.deployment.on_event({**checks.event(outcome, ""), "host": session.spec.name})
    return outcome


def on_host(session: HostConversation, channel: str, program: str, check: CheckDocument) -> checks.Outcome:
    """A check that the host itself asks, of a program of its own."""
    from provision.agent import checks

    request: Probe = {"op": "probe", "check": check, "channel": channel, "program": program}
    answer = session.conversation.ask(request, Probed)["check"]
    outcome = checks.Outcome(
        name=answer["check"],
        passed=answer["passed"],
        seconds=answer["seconds"],
        attempts=tuple((text, count) for text, count in answer["attempts"]),
        facts=answer["facts"],
    )
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
