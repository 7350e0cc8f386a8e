"""What looks at hosts and changes nothing: plan, facts."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from provision import errors
from provision.contract.slots import STABLE
from provision.hosts import HostResult, HostSpec, run_on_hosts
from provision.plan import Plan, Refusal
from provision.rollout import proof as proofs
from provision.rollout.behind import Places
from provision.rollout.everywhere import earlier
from provision.rollout.hosts import apart, chosen, values
from provision.targets import Deployment, open_session, plan_up
from provision.targets.shares import channel_by_itself, demand_share
from provision.targets.transact import images_of


@dataclass(frozen=True)
class HostPlan:
    """What `up` would do on one host."""

    host: str
    plan: Plan
    front: str = ""  # how it stands with the front that leads to it from another host, in words


def plan(
    deployment: Deployment,
    channel: str = "stable",
    hosts: Sequence[str] | None = None,
    *,
    take_over: str = "",
    share: float | None = None,
    abort_rollout: bool = False,
) -> list[HostPlan]:
    """What `up` would do on each host, file by file, and what stands against it; nothing is changed there.

    Args:
        channel, take_over, share, abort_rollout: as `up` takes them.

    Raises:
        DeployError: a host does not say.
    """
    asked = _plans(deployment, channel, hosts, take_over=take_over, share=share, abort_rollout=abort_rollout)
    return values(asked)


def plan_apart(deployment: Deployment, channel: str) -> tuple[list[HostPlan], dict[str, errors.DeployError]]:
    """As `plan`, for who shows what the others say beside a host that is gone: host -> why it says nothing."""
    return apart(_plans(deployment, channel, None))


def _plans(
    deployment: Deployment,
    channel: str,
    hosts: Sequence[str] | None,
    *,
    take_over: str = "",
    share: float | None = None,
    abort_rollout: bool = False,
) -> list[HostResult[HostPlan]]:
    demand_share(deployment, channel, share)
    deployment.build_ahead(channel or STABLE)
    proof = proofs.required(deployment, channel or STABLE, brought=True)
    first = earlier(deployment, hosts)

    def look(spec: HostSpec) -> HostPlan:
        with open_session(deployment, spec, take_over=take_over) as session:
            to = channel or channel_by_itself(session)
            planned = plan_up(
                session,
                to,
                show_files=True,
                share=share,
                abort_rollout=abort_rollout,
                waits_for=first[spec.name],
            )
            if proof and to == STABLE and not planned.unchanged and not planned.refused:
                against = proofs.against_promotion(proof.findings(planned.release), planned.checks)
                if against:
                    said = proofs.refusal(deployment, spec.name, planned.release, against)
                    planned = replace(planned, refused=Refusal(said.what, said.why, said.next_step))
            return HostPlan(spec.name, planned, places.of(spec.name))

    with contextlib.closing(Places(deployment)) as places:
        return run_on_hosts(chosen(deployment, hosts), look)


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
