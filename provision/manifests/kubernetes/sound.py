"""Facts out of which our own templates make no fault, so that nothing has to be read back.

Reading YAML takes longer than writing it. What our templates say is tested; what can still go wrong lies in the facts
that a project brings, and is few things. Where one of them may be wrong, `faults` reads what was rendered, and says it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from provision.manifests.kubernetes.workload import Workload
from provision.platforms.face import CONTAINER_SECRETS

# The strictest rule that any of these names has to follow: a Service's (RFC 1035).
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_LARGEST_MAP = 512 * 1024  # a ConfigMap holds twice that; more is read, and counted exactly


def are_sound(workloads: Sequence[Workload], namespaces: Iterable[str]) -> bool:
    """Whether nothing that a cluster refuses can come of these, of all channels together."""
    names = [facts.name for facts in workloads]
    jobs = [facts.job for facts in workloads if facts.batch]
    maps = [facts.config for facts in workloads if facts.env]
    claims = [claim.name for facts in workloads for claim in facts.claims if not claim.is_there]
    claims += [facts.fetch_claim.name for facts in workloads if facts.fetch_claim]
    every = [*names, *jobs, *maps, *claims, *namespaces, *(facts.service for facts in workloads)]
    fronts = [f"{facts.name}-public" for facts in workloads if facts.load_balancer]
    return (
        all(len(set(each)) == len(each) for each in ([*names, *fronts], jobs, maps, claims))
        and all(_NAME.fullmatch(name) for name in (*every, *fronts))
        and all(map(_is_sound, workloads))
    )


def _is_sound(facts: Workload) -> bool:
    # Both are folders of the pod's.
    mounted = ["/tmp", CONTAINER_SECRETS, *(claim.path.text.rstrip("/") for claim in facts.claims)]  # noqa: S108
    mounted += [facts.fetch.folder] if facts.fetch else []
    most = facts.scale.max if facts.scale else facts.replicas
    return (
        len(set(mounted)) == len(mounted)
        and len(set(facts.secrets)) == len(facts.secrets)
        and facts.replicas <= most
        and not (facts.scale and (facts.batch or facts.on_demand))
        and sum(len(f"{each.name}{each.value.text}".encode()) for each in facts.env) <= _LARGEST_MAP
    )
