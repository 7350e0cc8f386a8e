"""What a target that is a cluster is asked, by what the verbs call there. Loaded where one is declared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from provision.cluster import looks, over_time, rolling
from provision.cluster.kept.wanted import service_of
from provision.cluster.server.objects import at
from provision.errors import DeployError
from provision.rollout import Verified
from provision.rollout.chain import Chain, Program, links, of_place, together
from provision.rollout.chains import build_json, registries
from provision.rollout.on_cluster import Proof

if TYPE_CHECKING:
    from provision.cluster.looks import Planned, Status
    from provision.cluster.over_time import OverTime
    from provision.cluster.project_there import ProjectThere

_CHANNELS = ("stable", "canary")


def standing(there: ProjectThere) -> Status:
    return looks.status(there)


def traffic(there: ProjectThere, minutes: int, points: int) -> OverTime:
    return over_time.over_time(there, minutes, points)


def plan(there: ProjectThere) -> Planned:
    """What `deploy up` would do now."""
    return looks.plan(there, rolling.channel_by_itself(there))


def evidence(there: ProjectThere) -> tuple[dict[str, Sequence[Verified]], dict[str, DeployError]]:
    """As `rollout.verify_apart` has it of hosts, by channel; here it is one host that has everything.

    Raises:
        UsageError: the project has no public keys.
    """
    proof = Proof(there)
    known = there.book.read().channels if there.demand_namespace() else {}
    found: dict[str, Sequence[Verified]] = {}
    for channel in _CHANNELS:
        if release := known.get(channel, ""):
            told = proof.findings(release)
            against = proof.against(there.book.release(release), told)
            found[channel] = [Verified(there.name, release, told, 0, against)]
    return found, {}


def chains(there: ProjectThere) -> tuple[list[Chain], dict[str, DeployError]]:
    """As `rollout.chains` has them of hosts."""
    proof = Proof(there)
    known = there.book.read().channels if there.demand_namespace() else {}
    root, made = there.loaded.root, []
    for channel, id_ in known.items():
        release = there.book.release(id_)
        programs = [
            Program(service_of(node), str(image))
            for node in release.lanes[channel]
            if (image := at(node, "spec", "template", "spec", "containers", 0, "image"))
        ]
        try:
            found = proof.findings(id_)
            last = of_place(there.name, found, proof.against(release, found), 0)
        except DeployError as error:
            last = of_place(there.name, error, (), 0)
        made.append((channel, id_, there.name, links(programs, registries(root, programs), build_json(root), last)))
    return [*together(made)], {}
