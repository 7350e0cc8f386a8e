"""How a host stands: one word, what differs from its last commit, and what to do now. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from provision import errors
from provision.contract import devices
from provision.contract.decide import changed_there
from provision.contract.failure import out_of_degraded
from provision.contract.host_view import HostView
from provision.contract.rollout import HELD, PASSED, PAUSED, WAITING
from provision.contract.state import from_dict
from provision.errors import Exit

if TYPE_CHECKING:
    from provision.contract.facts import ProjectFacts, Restarted

# A program that was started again so often of late is restarting; so is one that was just now, which nobody has seen
# serve for long.
_RESTARTS = 2
_JUST_NOW_SECONDS = 60.0
# A rollout that goes on when somebody says what follows.
_STANDS_STILL = {
    HELD: "deploy rollout resume, promote or abort",
    PASSED: "deploy rollout promote",
    PAUSED: "deploy rollout resume",
    WAITING: "deploy rollout watch, which lets it begin when its turn comes",
}

_SAYS = {
    "nothing": "nothing is deployed",
    "stopped": "stopped on purpose",
    "failing": "a program does not run",
    "restarting": "a program ended, and was started again",
    "drifted": "it is not as the last deploy left it",
    "unsupervised": "serving, but without its supervisor, which was killed",
    "interrupted": "a transaction was cut short",
    "degraded": "DEGRADED: neither release could be proven",
}

State = Literal[
    "nothing",
    "serving",
    "stopped",
    "restarting",
    "drifted",
    "deploying",
    "interrupted",
    "degraded",
    "failing",
    "unsupervised",
    "untrusted",
]


@dataclass(frozen=True)
class HostStatus:
    """How one host stands. `project` is the agent's answer to `facts`, see docs/reference.md."""

    host: str
    project: ProjectFacts
    asked_for: str = ""  # the name of the project that asked
    front: str = ""  # how it stands with the front that leads to it from another host, in words
    several: bool = False  # whether the target has other hosts, so that commands have to name this one

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

    @cached_property
    def state(self) -> State:
        """One word: nothing; serving (all runs as the last commit says, was proven, and does not restart); stopped (all
        are, on purpose); restarting (a program does); drifted (all run, and not as the last commit says); deploying;
        interrupted; degraded; failing (a program does not run); unsupervised (all run, and their supervisor was
        killed); untrusted.
        """
        project = self.project
        if project.get("untrusted"):
            return "untrusted"
        if project["holder"]:
            return "deploying"
        if project["journal"]:
            return "degraded" if project["journal"]["step"] == "degraded" else "interrupted"
        if not project["state"]["programs"]:
            return "nothing"
        if self.failing:
            return "failing"
        if self._programs("stopped") and not self._started:
            return "stopped"
        if "unsupervised" in {seen["activity"] for seen in project["view"]["programs"].values()}:
            return "unsupervised"
        if any(_is_restarting(each) for each in self.restarted.values()):
            return "restarting"
        return "drifted" if self.drift else "serving"

    @property
    def says(self) -> str:
        """The state in words."""
        return _SAYS.get(self.state, self.state)

    @property
    def failing(self) -> list[str]:
        """The programs that do not run, and should."""
        seen, fine = self.project["view"]["programs"], ("running", "unsupervised")
        return [name for name in self._started if name not in seen or seen[name]["activity"] not in fine]

    @property
    def _started(self) -> list[str]:
        """The programs that run without being asked for, and were not stopped."""
        away = {*self._programs("on_demand"), *self._programs("stopped")}
        return [name for name in self.project["state"]["programs"] if name not in away]

    def _programs(self, key: Literal["on_demand", "stopped"]) -> list[str]:
        return [name for name, record in self.project["state"]["programs"].items() if record.get(key)]

    @property
    def restarted(self) -> dict[str, Restarted]:
        """By program, how often it was started again of late."""
        seen = self.project["view"]["programs"].items()
        return {name: program["restarted"] for name, program in seen if "restarted" in program}

    @property
    def drift(self) -> list[str]:
        """What is not as the host's last commit says, a sentence each."""
        project = self.project
        if project.get("untrusted"):
            return []
        state, view = from_dict(project["state"]), HostView.of(project["view"])
        changed = {name: changed_there(name, program, view) for name, program in state.programs.items()}
        found = [f"{name}: {what}" for name, what in changed.items() if what]
        return found + [f"{name} has lost {', '.join(map(devices.short, uuids))}" for name, uuids in self.lost.items()]

    @property
    def next(self) -> str:
        """What to do now, or empty."""
        project, rollback = self.project, "deploy rollback, or " if self.project["previous"] else ""
        match self.state:
            case "nothing":
                return "deploy up"
            case "deploying":
                return "deploy status --watch; if it hangs: deploy unlock, which ends it and puts back"
            case "interrupted":
                return "deploy unlock, which ends it now; so does the next deploy up"
            case "degraded":
                return out_of_degraded("", project["previous"])
            case "stopped":
                return "deploy start, or deploy up"
            case "failing":
                return f"{self._logs(self.failing[0])}; then {rollback}deploy up, which starts it again"
            case "restarting":
                worst = max(self.restarted, key=lambda name: self.restarted[name]["times"])
                return f"{self._logs(worst)}; then {rollback}deploy up with what was mended"
            case "unsupervised":
                return "deploy up, or deploy unlock: both start them again, under it"
            case "drifted":
                return (
                    "deploy plan, which shows how deploy up would put it right"
                    if not project.get("extra")
                    else "deploy up"
                )
            case "untrusted":
                return project["untrusted"]["next"]
            case "serving":
                return _STANDS_STILL.get(project["state"].get("rollout", {}).get("status", ""), "")
        return ""

    def _logs(self, program: str) -> str:
        record = self.project["state"]["programs"][program]
        words = ["deploy logs", record["service"]]
        words += ["--channel canary"] if record["lane"] == "canary" else []
        words += [f"--host {self.host}"] if self.several else []
        return " ".join(words)

    @property
    def exit(self) -> Exit:
        """What `deploy status` ends with for this host alone."""
        return {"serving": Exit.DONE, "degraded": Exit.DEGRADED}.get(self.state, Exit.FAILED)


@dataclass(frozen=True)
class Unreached:
    """A host that did not say how it stands."""

    host: str
    error: errors.DeployError

    @property
    def state(self) -> Literal["unreachable"]:
        return "unreachable"

    @property
    def next(self) -> str:
        """What to do now, or empty."""
        return self.error.next_step

    @property
    def exit(self) -> Exit:
        """What `deploy status` ends with for this host alone."""
        return Exit.SOME_HOSTS_FAILED


Standing = HostStatus | Unreached


def worst(found: Sequence[Standing]) -> Exit:
    """The exit code of all of them: 5 where one is degraded, else 3 where one can't be reached, else 1 or 0."""
    return max((each.exit for each in found), default=Exit.DONE)


def _is_restarting(restarted: Restarted) -> bool:
    return restarted["times"] >= _RESTARTS or restarted["ago"] < _JUST_NOW_SECONDS
