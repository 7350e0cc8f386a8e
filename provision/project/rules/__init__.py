"""What spans several keys. Each rule reads a `View` and yields what it finds wrong; none stops another.

Services and targets that are wrong in themselves are not in the view, so a rule judges only what is sound, and knows
the names of the others: a reference to a broken service is not reported as a reference to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from provision.project.fault import Fault
from provision.project.rules import (
    checks,
    containers,
    front,
    hooks,
    models,
    once,
    ports,
    prepare,
    proxies,
    python,
    references,
    renting,
    restarts,
    rollouts,
    secrets,
    services,
    targets,
    traffic,
)
from provision.project.rules.renting import without_hosts
from provision.project.rules.targets import sharing
from provision.project.rules.view import Sound

__all__ = ["Sound", "judge", "sharing", "without_hosts"]

_RULES = (
    *services.RULES,
    *prepare.RULES,
    *once.RULES,
    *python.RULES,
    *secrets.RULES,
    *references.RULES,
    *checks.RULES,
    *renting.RULES,
    *targets.RULES,
    *ports.RULES,
    *traffic.RULES,
    *front.RULES,
    *rollouts.RULES,
    *containers.RULES,
    *restarts.RULES,
    *proxies.RULES,
    *hooks.RULES,
    *models.RULES,
)


def judge(view: Sound) -> Iterator[Fault]:
    """Everything that is wrong between the keys of `view`."""
    for rule in _RULES:
        yield from rule(view)
