"""What looks at hosts and changes nothing: plan, status, history, facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from provision import errors
from provision.contract import devices
from provision.contract.records import HistoryEntry
from provision.hosts import HostSpec, run_on_hosts
from provision.plan import Plan, Refusal
from provision.rollout import proof as proofs
from provision.rollout.hosts import chosen, values
from provision.targets import Deployment, open_session, plan_up
from provision.targets.transact import images_of

if TYPE_CHECKING:
    from provision.contract.facts import ProjectFacts


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
        """One word: nothing, serving, deploying, interrupted, degraded, failing (a program does not run), stopped (all
        are, on purpose), unsupervised (all run, and their supervisor was killed), or untrusted.
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
        stopped = [name for name, program in programs.items() if program.get("stopped")]
        started = [name for name, program in programs.items() if not program.get("on_demand") and name not in stopped]
        if stopped and not started:
            return "stopped"
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
