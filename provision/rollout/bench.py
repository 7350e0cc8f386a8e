"""What serves, measured by hand: the models of each host one after the other, as a deploy measures them.

The host asks its own programs, by what its own release says of them, so that it is what runs that is measured. It takes
no lock and writes nothing down: a deploy that comes meanwhile goes its way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from provision.contract import roles
from provision.contract.slots import FIRST, named
from provision.contract.state import from_dict
from provision.errors import Refused
from provision.hosts import HostSpec, run_on_hosts
from provision.rollout.hosts import chosen, values
from provision.rollout.logs import no_service, programs
from provision.rollout.smoke import on_host
from provision.targets import Deployment, HostConversation, open_session

if TYPE_CHECKING:
    from provision.agent.checks.bench import Measuring
    from provision.contract.bench import Measured
    from provision.contract.facts import ProjectFacts
    from provision.contract.release import ServiceDocument


@dataclass(frozen=True)
class Benched:
    """One program on one host, and how it was measured."""

    host: str
    service: str  # with its slot: `llm`, `llm.canary`
    channel: str
    release: str
    prompt: int  # tokens, as asked
    generate: int
    parallel: int
    measured: Measured | None  # None where it could not be
    wrong: str  # why it could not be, or which declared limits it misses; empty where all is well
    judged: bool  # whether limits were declared for just this


def bench(
    deployment: Deployment,
    services: Sequence[str] = (),
    asked: Mapping[str, int] | None = None,
    channel: str = "stable",
    hosts: Sequence[str] | None = None,
) -> list[Benched]:
    """Measure what serves in `channel`.

    Args:
        services: `llm` with all of its copies, or one as `llm.2`. None: all that are measured, or asked for a
            completion, by their checks; of those on demand the ones that run.
        asked: `prompt`, `generate` and `parallel` where they are not as declared; then no declared limit counts.

    Raises:
        UsageError: there is no such service, or nobody knows that it generates anything.
        Refused: nothing is deployed there.
    """

    programs(deployment, services, channel)  # a typing error is told before minutes of measuring

    def look(spec: HostSpec) -> list[Benched]:
        with open_session(deployment, spec) as session:
            project = session.facts({"documents": [channel]})["project"]
            release = project["state"].get("channels", {}).get(channel)
            if release is None:
                raise Refused(
                    f"{channel} has no release that could be measured.",
                    host=spec.name,
                    next_step=f"deploy up --channel {channel}",
                )
            meant = _meant(project, release, channel, services, spec.name)
            return [_measure(session, project, release, channel, each, asked or {}) for each in meant]

    return [each for found in values(run_on_hosts(chosen(deployment, hosts), look)) for each in found]


def _meant(
    project: ProjectFacts, release: str, channel: str, services: Sequence[str], host: str
) -> list[ServiceDocument]:
    there = roles.having(project["documents"][release], from_dict(project["state"]), channel)
    if not services:
        every = [each for each in there if _generates(each) and (not each["on_demand"] or _runs(project, each))]
        if not every:
            raise Refused(
                "no service here is known to generate anything.",
                host=host,
                why="Measured is what has a check `bench` or `completion`.",
                next_step="name one in deploy.toml: check = { bench = {} }, then: deploy up",
            )
        return every
    for name in services:
        named_so = [each for each in there if name in (each["name"], _called(each))]
        if not named_so:
            raise no_service(name, dict.fromkeys(_called(each) for each in there))
        if not all(map(_generates, named_so)):
            raise Refused(
                f"nobody knows that {name} generates anything.",
                host=host,
                why="Measured is what has a check `bench` or `completion`.",
                next_step=f"give {name} check = {{ bench = {{}} }} in deploy.toml, then: deploy up",
            )
    return [each for each in there if {each["name"], _called(each)} & set(services)]


def _called(service: ServiceDocument) -> str:
    return named(service["name"], service.get("slot", FIRST))


def _generates(service: ServiceDocument) -> bool:
    return bool(service["ports"]) and any(check["kind"] in ("bench", "completion") for check in service["checks"])


def _runs(project: ProjectFacts, service: ServiceDocument) -> bool:
    seen = project["view"]["programs"].get(service["program"])
    return seen is not None and seen["activity"] == "running"


def _measure(
    session: HostConversation,
    project: ProjectFacts,
    release: str,
    channel: str,
    service: ServiceDocument,
    asked: Mapping[str, int],
) -> Benched:
    check, judged = _check(service, asked)
    measured, wrong = None, "it does not run; next: deploy status"
    if _runs(project, service):
        with session.phase("measure"):
            outcome = on_host(session, channel, service["program"], check)
        measured = cast("Measured", outcome.facts) if "short" in outcome.facts else None
        wrong = "" if outcome.passed else outcome.attempts[-1][0] if outcome.attempts else outcome.sentence
    return Benched(
        session.spec.name,
        _called(service),
        channel,
        release,
        check["prompt"],
        check["generate"],
        check["parallel"],
        measured,
        wrong,
        judged,
    )


def _check(service: ServiceDocument, asked: Mapping[str, int]) -> tuple[Measuring, bool]:
    """What the host is to measure, and whether declared limits count: they are said of the declared numbers."""
    declared = next(_of_kind(service, "bench"), None)
    told = declared or _default(service)
    is_declared = declared is not None and all(declared[name] == value for name, value in asked.items())  # type: ignore[literal-required]
    limits = {} if is_declared else {"ttft_p95": 0.0, "tokens_per_second": 0.0}
    numbers = {"prompt": told["prompt"], "generate": told["generate"], "parallel": told["parallel"], **asked}
    return cast(
        "Measuring",
        {
            **told,
            **numbers,
            **limits,
            "name": "{} bench {prompt}+{generate} x{parallel}".format(_called(service), **numbers),
            "regression": 0.0,  # of which a deploy judges
            "form": "full",
        },
    ), is_declared


def _default(service: ServiceDocument) -> Measuring:
    """The check as it would be declared with nothing said, of the address and the secret that its own check has."""
    from provision.project.checks import KINDS, Check
    from provision.project.checks.bench import Measure
    from provision.project.checks.kind import Asked

    own = next(_of_kind(service, "completion"))
    check = Check(bench=Measure())
    asked = Asked(check, "", "", own["token"], lambda *_: "", lambda: own["url"], dict)
    return cast("Measuring", KINDS["bench"].document(check, asked))


def _of_kind(service: ServiceDocument, kind: str) -> Iterator[Measuring]:
    return (cast("Measuring", check) for check in service["checks"] if check["kind"] == kind)
