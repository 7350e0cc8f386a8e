"""A project as jobs of Nomad, in the JSON of its HTTP API: `nomad job run -json FILE`.

Services that run for good are tasks of one group: they start on one machine, share its network namespace as containers
of a pod do, and find each other on 127.0.0.1. What is on demand is a job of its own, for people to run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from provision.errors import UnencodableValue
from provision.manifests.containers import Containers, containers
from provision.manifests.nomad.tasks import SECRETS, Json, restarts, seconds, task
from provision.manifests.value import AtStart
from provision.project.parts import Restart
from provision.project.schema import Project
from provision.project.service import Lane
from provision.project.target import Target
from provision.project.template import Ref

__all__ = ["SECRETS", "files"]

_MIN_HEALTHY = 10
_SURPLUS = 60  # what follows a deadline: Nomad wants the deadline for all to be after the one for each


@dataclass(frozen=True)
class _Allocations(Containers):
    """One lane of a project as allocations of Nomad."""

    def _reference(self, ref: Ref, subject: str, owner: str) -> str | AtStart:
        match ref.name.split("."):
            case ["services", other, "host" | "port"] if other in self.project.services and other != owner:
                apart = [name for name in (owner, other) if self.project.services[name].on_demand]
                if apart:
                    reason = (
                        f"{apart[0]} is on demand, so a job of its own on Nomad, and reaches no other service by its "
                        "name; write the address itself"
                    )
                    raise UnencodableValue(subject, reason)
                if ref.name.endswith(".host"):
                    return "127.0.0.1"
        return super()._reference(ref, subject, owner)


def files(project: Project, target: Target | None, _root: Path) -> dict[str, str]:
    """What `deploy render nomad` writes. See `provision.platforms.face.Face.files`."""
    made = containers(project, "nomad", Lane.STABLE, target)
    places = _Allocations(made.project, made.target, made.lane, made.models)
    held = [name for name in project.services if places.holds(name)]
    together = [name for name in held if not project.services[name].on_demand]
    jobs = [_job(places, project.name, together)] if together else []
    jobs += [_job(places, f"{project.name}-{name}", [name]) for name in held if name not in together]
    return {f"{job['ID']}.nomad.json": json.dumps({"Job": job}, indent=2, ensure_ascii=False) + "\n" for job in jobs}


def _job(places: Containers, job: str, names: list[str]) -> Json:
    services = places.project.services
    runs_to_its_end = all(services[name].batch for name in names)
    tasks = [task(places, name, job) for name in names]
    group: Json = {
        "Name": job,
        "Count": 1,
        "Networks": [{"Mode": "bridge", "ReservedPorts": _ports(places, names)}],
        "Volumes": {
            volume: {"Name": volume, "Type": "host", "Source": f"{places.project.name}-{volume}"}
            for name in names
            for key, declared in sorted(services[name].volumes.items())
            for volume in [f"{declared.of_service(name)}-{key}"]
        },
        "Tasks": tasks,
    }
    if runs_to_its_end:
        # Whoever dispatches it hears of a failure, and starts it again.
        once = {
            "RestartPolicy": {"Attempts": 0, "Mode": "fail"},
            "ReschedulePolicy": {"Attempts": 0, "Unlimited": False},
        }
        dispatched = {"ParameterizedJob": {"Payload": "forbidden"}} if services[names[0]].on_demand else {}
        return {
            "ID": job,
            "Name": job,
            "Type": "batch",
            "Datacenters": ["*"],
            **dispatched,
            "TaskGroups": [group | once],
        }
    group["RestartPolicy"] = restarts(Restart())
    return {
        "ID": job,
        "Name": job,
        "Type": "service",
        "Datacenters": ["*"],
        "Update": _update(places, names, any(each["Services"] for each in tasks)),
        "TaskGroups": [group],
    }


def _ports(places: Containers, names: list[str]) -> list[Json]:
    """The machine's ports that lead to a service; who is not exposed has none."""
    exposed = [(name, places.project.services[name]) for name in names]
    return [
        {"Label": name, "Value": service.port, "To": service.port}
        for name, service in exposed
        if service.port and service.expose
    ]


def _update(places: Containers, names: list[str], checked: bool) -> Json:
    """A new version has to become healthy in time, or the one before it is put back."""
    longest = max((check.timeout for name in names for check in places.project.services[name].every_check), default=60)
    return {
        "MaxParallel": 1,
        "HealthCheck": "checks" if checked else "task_states",
        "MinHealthyTime": seconds(_MIN_HEALTHY),
        "HealthyDeadline": seconds(longest + _SURPLUS),
        "ProgressDeadline": seconds(longest + 2 * _SURPLUS),
        "AutoRevert": True,
    }
