"""The targets of the project: each opened when somebody looks, its hosts asked by what the verbs call."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provision import rollout
from provision.errors import DeployError
from provision.hosts import HostSpec
from provision.page.poller import Key, Poller
from provision.rollout import HostStatus, Unreached
from provision.rollout.chains import chains
from provision.targets import Deployment

if TYPE_CHECKING:
    from provision.cluster.project_there import ProjectThere
    from provision.rollout.watch import Watch

PLACE, STANDING, TRAFFIC, EVIDENCE, MODELS, MACHINES = "place", "standing", "traffic", "evidence", "models", "machines"
PLAN, CHAINS = "plan", "chains"
MINUTES, POINTS = 60, 120  # of the series
_CHANNELS = ("stable", "canary")

_OFTEN_SECONDS = 5.0
_CLUSTER_SECONDS = 7.5  # each look is a dry run of all that is there
_SERIES_SECONDS = 15.0  # an hour of raw samples each time
_SELDOM_SECONDS = 60.0
_CHAINS_SECONDS = 300.0  # registries count who asks


@dataclass(frozen=True)
class Project:
    """What the page is about.

    Attributes:
        targets: by name, what opens it; it may ask the network, and may fail.
    """

    name: str
    root: Path
    targets: Mapping[str, Callable[[], Deployment | ProjectThere]]


@dataclass(frozen=True)
class Place:
    """A target that is open, as the page shows it."""

    name: str
    platform: str
    path: str
    hosts: tuple[str, ...]
    is_cluster: bool = False
    has_traffic: bool = False
    provider: str = ""


class Places:
    """Opens targets for a poller, and has it ask their hosts."""

    def __init__(self, project: Project, poller: Poller) -> None:
        self.project = project
        self.poller = poller
        self.open: dict[str, Deployment | ProjectThere] = {}
        self._held = contextlib.ExitStack()
        for name in project.targets:
            poller.add(Key(PLACE, name), partial(self._place, name), _SELDOM_SECONDS)

    def close(self) -> None:
        """End the connections that were open."""
        with contextlib.suppress(DeployError, OSError):
            self._held.close()

    def _place(self, name: str) -> Place:
        there = self.open.get(name) or self.project.targets[name]()
        self.open[name] = there
        if not isinstance(there, Deployment):
            counts = self._cluster(name, there)
            platform, namespace = str(there.target.platform), there.api.namespace
            return Place(name, platform, namespace, (), is_cluster=True, has_traffic=counts)
        specs = there.hosts
        self._hosts(name, there, specs)
        target = there.target
        return Place(
            name,
            str(target.platform),
            str(target.path),
            tuple(spec.name for spec in specs),
            has_traffic=target.traffic is not None,
            provider=target.provider or "",
        )

    def _cluster(self, name: str, there: ProjectThere) -> bool:
        """Whether somebody counts what its users see."""
        from provision.page import clusters

        self.poller.add(Key(STANDING, name), partial(clusters.standing, there), _CLUSTER_SECONDS)
        self.poller.add(Key(EVIDENCE, name), partial(clusters.evidence, there), _SELDOM_SECONDS)
        self.poller.add(Key(CHAINS, name), partial(clusters.chains, there), _CHAINS_SECONDS)
        self.poller.add(Key(PLAN, name), partial(self._plan_of_cluster, name), _SELDOM_SECONDS)
        counts = there.target.rollout.prometheus is not None
        if counts:
            self.poller.add(Key(TRAFFIC, name), partial(clusters.traffic, there, MINUTES, POINTS), _SERIES_SECONDS)
        return counts

    def _plan_of_cluster(self, name: str) -> Any:
        """As `_plan`."""
        from provision.page import clusters

        fresh = self.project.targets[name]()
        assert not isinstance(fresh, Deployment)  # noqa: S101  (as in `_plan`)
        return clusters.plan(fresh)

    def _hosts(self, name: str, there: Deployment, specs: Sequence[HostSpec]) -> None:
        known = {key.host for key in self.poller.keys(STANDING, name)}
        new = [spec for spec in specs if spec.name not in known]
        if not new:
            return
        names = [spec.name for spec in new]
        standing = self._held.enter_context(rollout.watched(there, names))
        for spec in new:
            self._look(Key(STANDING, name, spec.name), partial(_of, standing, spec))
            models = partial(_models, there, spec.name)
            self.poller.add(Key(MODELS, name, spec.name), models, _SELDOM_SECONDS)
        if there.target.traffic is not None:
            traffic = self._held.enter_context(rollout.watched_traffic(there, MINUTES, names, points=POINTS))
            for spec in new:
                self._look(Key(TRAFFIC, name, spec.name), partial(_of, traffic, spec))
        self.poller.add(Key(EVIDENCE, name), partial(_evidence, there), _SELDOM_SECONDS)
        self.poller.add(Key(CHAINS, name), partial(chains, there), _CHAINS_SECONDS)
        self.poller.add(Key(PLAN, name), partial(self._plan, name), _SELDOM_SECONDS)
        if there.target.provider:
            self.poller.add(Key(MACHINES, name), partial(_machines, there), _SELDOM_SECONDS)

    def _look(self, key: Key, ask: Callable[[], Any]) -> None:
        self.poller.add(key, ask, _OFTEN_SECONDS)

    def _plan(self, name: str) -> tuple[dict[str, dict[str, Any]], dict[str, DeployError]]:
        """Of the project as it is now: what is open has read it once, and goes on with that."""
        fresh = self.project.targets[name]()
        assert isinstance(fresh, Deployment)  # noqa: S101  (it was, and is not asked for otherwise)
        plans, gone = rollout.plan_apart(fresh, "")
        return {each.host: each.plan.as_facts() for each in plans}, gone


def _evidence(there: Deployment) -> tuple[dict[str, list[rollout.Verified]], dict[str, DeployError]]:
    found: dict[str, list[rollout.Verified]] = {}
    gone: dict[str, DeployError] = {}
    for channel in _CHANNELS:
        found[channel], failed = rollout.verify_apart(there, channel)
        gone |= failed
    return found, gone


def _of(watch: Watch[Any], spec: HostSpec) -> Any:
    return watch.one(spec)


def _models(there: Deployment, host: str) -> list[Any]:
    return [each for found in rollout.kept_models(there, [host]) for each in found.models]


def _machines(there: Deployment) -> list[tuple[Any, Any, float]]:
    """Each machine, what its label says, and what it has cost."""
    from provision.targets.labels import Label

    machines = there.machines
    now = machines.provider.now()
    found = [*machines.rented(), *machines.rented_beyond()]
    return [(each, Label.read(each.label), each.cost(now)) for each in found]


def standing(heard_of: str, value: Any, error: DeployError | None) -> HostStatus | Unreached | None:
    """How a host stands by what was heard of it last; None where nothing was yet."""
    if isinstance(value, HostStatus):
        return value
    return Unreached(heard_of, error) if error else None
