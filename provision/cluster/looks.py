"""What looks at a cluster and changes nothing: plan, status, history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from provision.cluster import claims, rolling
from provision.cluster.changing.changes import Change, changes, full_of_claims, lacking, warnings
from provision.cluster.changing.filled import as_known, filled, placed
from provision.cluster.kept.inventory import Inventory
from provision.cluster.kept.lease import holder
from provision.cluster.kept.wanted import service_of
from provision.cluster.project_there import ProjectThere
from provision.cluster.room import room
from provision.cluster.server.lean import lean
from provision.cluster.server.objects import KEPT, Name, Node, at, labels_of, name_of
from provision.cluster.traffic.own_routes import Way, ways
from provision.cluster.traffic.weighing import Given, Weighing
from provision.cluster.waiting.standing import Standing, deployment, hopeless, is_ready, job
from provision.contract.slots import CANARY, STABLE
from provision.project.units import percent

if TYPE_CHECKING:
    from provision.cluster.claims import ModelClaim
    from provision.contract.rollout import RolloutDocument, RolloutRecord


@dataclass(frozen=True)
class Planned:
    """What `deploy up` would do."""

    channel: str
    release: str
    current: str  # the release that the channel has
    generation: int
    makes_namespace: str
    changes: tuple[Change, ...]
    interrupted: str  # who began what was cut short
    lacking: tuple[str, ...] = ()  # secrets
    full: tuple[str, ...] = ()  # quotas
    doubts: tuple[str, ...] = ()  # what is no refusal
    steps: RolloutDocument | None = None  # of the rollout that begins
    old_claims: tuple[ModelClaim, ...] = ()  # of models that nothing has, nor would

    @property
    def refused(self) -> tuple[str, ...]:
        """Everything that `up` would be refused for."""
        said = [text for each in self.changes for text in (*each.claims, *_refusal(each))]
        return (*said, *self.full, *self.lacking)

    @property
    def next_step(self) -> str:
        """What helps, where that can be told of what `up` would be refused for."""
        return full_of_claims(self.refused)

    @property
    def unchanged(self) -> bool:
        return self.release == self.current and all(each.do == "keep" for each in self.changes)


@dataclass(frozen=True)
class Seen:
    """One service, as the cluster shows it."""

    service: str
    channel: str
    name: Name
    standing: Standing
    ready: int
    pods: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Status:
    """How a project stands."""

    state: str
    inventory: Inventory
    holder: str
    services: tuple[Seen, ...]
    drift: tuple[str, ...] = ()
    given: tuple[Given, ...] = ()  # what the canary has of the requests
    ways: tuple[Way, ...] = ()  # by which names users come
    old_claims: tuple[ModelClaim, ...] = ()  # of models that nothing has


def _refusal(change: Change) -> list[str]:
    return [f"{change.name}: {change.refused}"] if change.refused else []


def plan(there: ProjectThere, channel: str, take_over: tuple[str, ...] = ()) -> Planned:
    """Asked of the API server by a dry run."""
    there.say_what_is_left_out()
    is_there = there.demand_namespace()
    inventory = there.book.read() if is_there else Inventory()
    release = there.release
    if is_there:
        lane, values = release.lanes[channel], there.loaded.secrets
        release = placed(
            release, channel, filled(there.api, there.project.services, lane, "up", channel, inventory, values)
        )
    wanted = there.book.labelled(release.lanes[channel], inventory)
    planned = changes(there.api, wanted, there.book.applyset, take_over, is_new=not is_there)
    names = {name_of(node) for node in wanted}
    others = {each.named for lane, members in inventory.members.items() if lane != channel for each in members}
    gone = [
        Change(each.named, "prune")
        for each in inventory.members.get(channel, ())
        if each.named not in names | others and each.kind not in KEPT
    ]
    begun = inventory.begun if is_there and inventory.begun and not holder(there.api, there.project.name) else None
    return Planned(
        channel,
        there.release.id,
        inventory.channels.get(channel, ""),
        inventory.generation,
        "" if is_there else there.api.namespace,
        (*planned, *gone),
        begun.who if begun else "",
        tuple(lacking(there.api, wanted)) if is_there else (),
        tuple(room.refusals(there.api, wanted, planned, there.book.applyset)) if is_there else (),
        (*warnings(planned), *(room.doubts(there.api, wanted, planned) if is_there else ())),
        there.target.rollout.document() if channel == CANARY and there.target.rollout.steps else None,
        claims.old(there, inventory, wanted) if is_there else (),
    )


def status(there: ProjectThere) -> Status:
    """What runs, and whether it is as the last deploy left it."""
    if not there.demand_namespace():
        return Status("nothing", Inventory(), "", ())
    inventory, who = there.book.read(), holder(there.api, there.project.name)
    labels = labels_of(there.project.name)
    found = {kind: there.api.list(kind, labels, lean)[0] for kind in ("Deployment", "ReplicaSet", "Pod", "Job")}
    services = [_seen(each, lane, found) for lane, members in inventory.members.items() for each in _workloads(members)]
    if not inventory.generation and (left := there.forgotten()):
        runs = [_seen(name_of(node), at(node, "metadata", "labels", "channel"), found) for node in left]
        gone = f"ConfigMap deploy-{there.project.name} is gone, which says what is deployed; what is named here runs on"
        return Status("forgotten", inventory, who, tuple(runs), (gone,))
    given = _given(there, inventory) if inventory.shares else ()
    led = tuple(ways(there.api, inventory.members.get(STABLE, ())))
    closed = [f"HTTPRoute {each.route}: {each.why}" for each in led if each.why]
    drift = () if who or inventory.begun else (*_drift(there, inventory), *_unlike(inventory, given), *closed)
    state, spare = _state(inventory, services, who, drift), claims.old(there, inventory)
    return Status(state, inventory, who, tuple(services), drift, given, led, spare)


@dataclass(frozen=True)
class Traffic:
    """Who gets which request."""

    shares: Mapping[str, float]  # lane -> share, as it was given
    given: tuple[Given, ...]  # what the canary really has
    rollout: RolloutRecord | None
    seen: Mapping[str, Mapping[str, Mapping[str, int]]]  # service -> lane -> requests, errors


def traffic(there: ProjectThere, minutes: int) -> Traffic:
    """As the cluster shows it, with what users saw in the last minutes where somebody counts that."""
    inventory = there.book.read() if there.demand_namespace() else Inventory()
    seen = {
        service: {
            lane: {"requests": counted.requests, "errors": counted.errors}
            for lane, counted in ((STABLE, both.stable), (CANARY, both.canary))
        }
        for service, both in rolling.figures(there, inventory, minutes).items()
    }
    return Traffic(inventory.shares, _given(there, inventory), inventory.rollout, seen)


def _given(there: ProjectThere, inventory: Inventory) -> tuple[Given, ...]:
    return tuple(Weighing(there.api, there.book, there.project.name, there.tell).given(inventory))


def history(there: ProjectThere) -> Inventory:
    return there.book.read() if there.demand_namespace() else Inventory()


def _workloads(members: Sequence[Any]) -> list[Name]:
    return [each.named for each in members if each.kind in ("Deployment", "Job")]


def _seen(name: Name, channel: str, found: Mapping[str, list[Node]]) -> Seen:
    node = next((each for each in found[name.kind] if each["metadata"]["name"] == name.name), None)
    if node is None:
        return Seen(name.name, channel, name, Standing("stuck", "it is gone"), 0, ())
    service = service_of(node)
    pods = [
        pod
        for pod in found["Pod"]
        if service_of(pod) == service and pod["metadata"]["labels"].get("channel") == channel
    ]
    standing = job(node, pods) if name.kind == "Job" else deployment(node, found["ReplicaSet"], pods)
    shown = tuple(
        {
            "pod": pod["metadata"]["name"],
            "node": at(pod, "spec", "nodeName") or "",
            "phase": at(pod, "status", "phase"),
            "ready": is_ready(pod),
            "restarts": sum(each.get("restartCount", 0) for each in at(pod, "status", "containerStatuses") or ()),
            "why": hopeless(pod),
        }
        for pod in pods
    )
    return Seen(service, channel, name, standing, sum(bool(each["ready"]) for each in shown), shown)


def _drift(there: ProjectThere, inventory: Inventory) -> list[str]:
    """What somebody has changed or removed since: the release that was deployed, asked of the server by a dry run."""
    found: list[str] = []
    for channel, id_ in inventory.channels.items():
        kept = there.book.find(id_)
        if kept is None:
            found.append(f"Secret {there.book.secret(id_)}: it is gone, and nobody can go back to what {channel} is")
            continue
        release = as_known(kept, channel, inventory)
        wanted = there.book.labelled(release.lanes[channel], inventory)
        for each in changes(there.api, wanted, there.book.applyset):
            if each.do == "create":
                found.append(f"{each.name}: {each.refused or 'it is gone'}")
            found += each.claims
            found += [f"{each.name}: {text}" for text in (each.fields if not each.claims else ())]
    return found


def _unlike(inventory: Inventory, given: Sequence[Given]) -> list[str]:
    """Where the canary has another share than it was given: somebody changed a route, or a laptop died."""
    share = inventory.shares.get(CANARY, 0.0)
    return [
        f"{each.by}: the canary has {percent(round(each.share, 4))} of {each.service}, and was given {percent(share)}"
        for each in given
        if abs(each.share - share) > share / 10 and each.service not in inventory.copies
    ]


def _state(inventory: Inventory, services: Sequence[Seen], who: str, drift: Sequence[str]) -> str:
    if who:
        return "deploying"
    if inventory.degraded:
        return "degraded"
    if inventory.begun and not who:
        return "interrupted"
    if not inventory.channels:
        return "nothing"
    if any(each.standing.stuck for each in services):
        return "failing"
    if drift:
        return "drifted"
    if any(not each.standing.ready and each.name.kind == "Deployment" for each in services):
        return "starting"
    return "serving"
