"""What looks at hosts and changes nothing: plan, status, history, logs, facts, exec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from provision import errors
from provision.agent import loader
from provision.contract import devices
from provision.contract.answers import Lines
from provision.contract.layout import Layout
from provision.contract.records import HistoryEntry
from provision.contract.slots import FIRST, named, services_in, services_of
from provision.hosts import HostSpec, run_on_hosts
from provision.plan import Plan, Refusal
from provision.rollout import proof as proofs
from provision.rollout.hosts import chosen, values
from provision.targets import Deployment, open_session, plan_up
from provision.targets.transact import images_of

if TYPE_CHECKING:
    from provision.contract.facts import ProjectFacts
    from provision.contract.release import ServiceDocument
    from provision.contract.requests import Logs

_FOLLOW_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class HostPlan:
    """What `up` would do on one host."""

    host: str
    plan: Plan


@dataclass(frozen=True)
class HostStatus:
    """How one host stands. `project` is the agent's answer to `facts`, see docs/reference.md."""

    host: str
    project: ProjectFacts
    asked_for: str = ""  # the name of the project that asked

    @property
    def another(self) -> str:
        """The other project that is there in place of the one that asked; empty where it is that one, or none."""
        there = self.project["state"].get("project", "")
        return there if there != self.asked_for and self.asked_for else ""

    @property
    def lost(self) -> dict[str, list[str]]:
        """By program, the GPUs that it was given and that are not there any more; empty where nobody has looked."""
        gpus = self.project["view"].get("gpus")
        if gpus is None or self.project.get("untrusted"):
            return {}
        programs = self.project["state"]["programs"].items()
        found = {name: devices.lost(record.get("devices", ()), gpus) for name, record in programs}
        return {name: uuids for name, uuids in found.items() if uuids}

    @property
    def state(self) -> str:
        """One word: nothing, serving, deploying, interrupted, degraded, failing (a program does not run), unsupervised
        (all run, and their supervisor was killed), or untrusted.
        """
        project = self.project
        if project.get("untrusted"):
            return "untrusted"
        if project["holder"]:
            return "deploying"
        if project["journal"]:
            return "degraded" if project["journal"]["step"] == "degraded" else "interrupted"
        programs = project["state"]["programs"]
        if not programs:
            return "nothing"
        seen = project["view"]["programs"]
        started = [name for name, program in programs.items() if not program.get("on_demand")]
        doing = {seen[name]["activity"] if name in seen else "missing" for name in started}
        if doing - {"running", "unsupervised"}:
            return "failing"
        return "unsupervised" if "unsupervised" in doing else "serving"


def plan(
    deployment: Deployment, channel: str = "stable", hosts: Sequence[str] | None = None, *, take_over: str = ""
) -> list[HostPlan]:
    """What `up` would do on each host, file by file, and what stands against it; nothing is changed there."""
    deployment.build_ahead(channel)
    proof = proofs.required(deployment, channel, brought=True)

    def look(spec: HostSpec) -> HostPlan:
        with open_session(deployment, spec, take_over=take_over) as session:
            planned = plan_up(session, channel, show_files=True)
            if proof and not planned.unchanged and not planned.refused:
                against = proofs.against_promotion(proof.findings(planned.release), planned.checks)
                if against:
                    said = proofs.refusal(deployment, spec.name, planned.release, against)
                    planned = replace(planned, refused=Refusal(said.what, said.why, said.next_step))
            return HostPlan(spec.name, planned)

    return values(run_on_hosts(chosen(deployment, hosts), look))


@dataclass(frozen=True)
class Canary:
    """The release that is on trial, and the images that were followed to it: name and tag -> digest."""

    release: str
    images: Mapping[str, str]


def canary(deployment: Deployment, hosts: Sequence[str] | None = None) -> Canary:
    """What the hosts have as canary.

    Raises:
        Refused: none has one, or two have different ones.
    """

    def look(spec: HostSpec) -> Canary | None:
        with open_session(deployment, spec) as session:
            project = session.facts({})["project"]
        release = project["state"].get("channels", {}).get("canary")
        return Canary(release, images_of(project["history"], release)) if release else None

    found = [item for item in values(run_on_hosts(chosen(deployment, hosts), look)) if item]
    if len({item.release for item in found}) != 1:
        what = "there is no canary to promote." if not found else "the hosts have different canaries."
        raise errors.Refused(what, next_step="deploy up --channel canary, then deploy promote")
    first: Canary = found[0]
    return first


def status(deployment: Deployment, hosts: Sequence[str] | None = None) -> list[HostStatus]:
    """How each host stands; of one whose folder can't be trusted, what its supervisor tells."""

    def look(spec: HostSpec) -> HostStatus:
        with open_session(deployment, spec) as session:
            return HostStatus(spec.name, session.facts({"outside": True})["project"], deployment.loaded.project.name)

    return values(run_on_hosts(chosen(deployment, hosts), look))


class HostEntry(HistoryEntry):
    """A committed transaction of one host."""

    host: str


def history(deployment: Deployment, hosts: Sequence[str] | None = None) -> list[HostEntry]:
    """Committed transactions of each host, oldest first; each entry names its host."""

    def look(spec: HostSpec) -> list[HostEntry]:
        with open_session(deployment, spec) as session:
            return [{"host": spec.name, **entry} for entry in session.facts({})["project"]["history"]]

    return [entry for entries in values(run_on_hosts(chosen(deployment, hosts), look)) for entry in entries]


def facts(deployment: Deployment, hosts: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """What each host is and has, GPUs included."""

    def look(spec: HostSpec) -> dict[str, Any]:
        with open_session(deployment, spec) as session:
            answer = session.facts({"host": True, "gpus": True, "outside": True})
        return {
            "host": spec.name,
            "machine": answer["host"],
            "gpus": answer["gpus"],
            "project": answer["project"],
            "supervisor": answer["supervisor"],
        }

    return values(run_on_hosts(chosen(deployment, hosts), look))


def logs(
    deployment: Deployment,
    service: str,
    *,
    lines: int = 100,
    follow: bool = False,
    channel: str = "stable",
    host: str | None = None,
) -> Iterator[str]:
    """The last lines that a service wrote on one host; with `follow`, also those to come, until interrupted.

    What is no UTF-8 in them is there as `surrogateescape` has it.
    """
    spec = _one(deployment, host)
    program = _service(deployment, service, channel)["program"]
    if not follow:
        with open_session(deployment, spec) as session:
            request: Logs = {
                "op": "logs",
                "outside": True,
                "program": program,
                "lines": lines,
                "platform": str(deployment.target.platform),
                "supervisor": deployment.supervisor,
            }
            answer = session.conversation.ask(request, Lines)
        yield from answer["lines"]
        return
    words = deployment.platform.follow(deployment.target, program, lines)
    with deployment.connect(spec) as connection, connection.session(words) as channel_:
        while (line := channel_.read_line(_FOLLOW_SECONDS)) is not None:
            yield line.decode("utf-8", "surrogateescape")


# Without a release the folder is not there; with one, its Python environment is first on PATH.
_IN_RELEASE = """cd -P -- "$1" && shift && {
if [ -d .venv/bin ]; then PATH=$PWD/.venv/bin:$PATH VIRTUAL_ENV=$PWD/.venv; export PATH VIRTUAL_ENV; fi
exec "$@" 2>&1; }"""


def execute(
    deployment: Deployment,
    argv: Sequence[str],
    host: str | None = None,
    *,
    service: str = "",
    on_host: bool = False,
    output: int = 1,
) -> int:
    """Run a command in the stable release of one host; on an engine, inside the container. The exit status.

    Args:
        service: in whose container, where the project has several.
        on_host: on the host itself, in the release's folder, on an engine as well.
        output: the file descriptor that its output goes to.

    Raises:
        UsageError: it is not clear in which container, or there is none.
    """
    spec = _one(deployment, host)
    in_container = not (deployment.target.can.on_host or on_host)
    if service and not in_container:
        raise errors.UsageError(
            "a service is named where each has a container of its own.",
            why="This command runs on the host, in the release's folder.",
            next_step="leave --service out",
        )
    folder = Layout(deployment.target.path).channel("stable")
    # sh is told the folder and the command as arguments; it reads nothing of them.
    command = ["sh", "-c", _IN_RELEASE, "sh", folder]
    command += [*_inside(deployment, service), *argv] if in_container else argv
    command = loader.guarded(deployment.target.python, folder, command)
    with deployment.connect(spec) as connection, connection.session(command) as channel:
        channel.end_input()
        channel.pour_into(output)
        return channel.exit_status()


def _inside(deployment: Deployment, service: str) -> list[str]:
    """The words that run others in the container of `service`, in the release, which is its working directory."""
    services = services_in(deployment.release.document, FIRST)
    if not service and len(services) > 1:
        raise errors.UsageError(
            "a command runs in the container of one service.",
            why=f"There are {', '.join(item['name'] for item in services)}.",
            next_step=f"--service {services[0]['name']}, or --on-host",
        )
    program = _service(deployment, service or services[0]["name"], "stable")["program"]
    return deployment.platform.inside(deployment.target, program)


def _one(deployment: Deployment, host: str | None) -> HostSpec:
    specs = chosen(deployment, [host] if host else None)
    if len(specs) > 1:
        names = ", ".join(spec.name for spec in specs)
        raise errors.UsageError("this needs one host", why=f"The target has: {names}.", next_step="--host NAME")
    return specs[0]


def _service(deployment: Deployment, name: str, channel: str) -> ServiceDocument:
    """The program that `name` means: a service, of several copies the first, or `api.2`."""
    services = {_called(each): each for each in services_of(deployment.release.document, channel)}
    if name in services:
        return services[name]
    known = ", ".join(services)
    raise errors.UsageError(f"there is no service {name!r}", why=f"Known: {known}.")


def _called(service: ServiceDocument) -> str:
    """A program as a person calls it who has named the channel."""
    return named(service["name"], service.get("slot", FIRST))
