"""Several declarations of a service, measured one after the other beside what serves, which nobody touches.

Each is a preview of the project with that service alone: a folder, names and ports of its own, judged by what is free
beside everything that runs. The next takes the last one's place, and in the end the preview is removed; where this
machine is cut off before, it is wanted for an hour, and the next `up` of anybody ends it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from provision.errors import DeployError, Interrupted, UsageError
from provision.project.fault import did_you_mean
from provision.project.variant import NONE, TRIED, variant
from provision.rollout import previews
from provision.rollout.bench import bench

if TYPE_CHECKING:
    from provision.rollout.bench import Benched
    from provision.targets import Deployment, Interrupt

PREVIEW = "bench"
_SECONDS = 3600.0
_MOST = 24  # declarations: each takes a load of the model and a minute


@dataclass(frozen=True)
class Tried:
    """One declaration, and how it did on each host."""

    change: Mapping[str, str]
    found: tuple[Benched, ...]  # empty where it could not be started
    wrong: str = ""  # why


def choices(said: Sequence[str]) -> list[dict[str, str]]:
    """Every declaration that these words mean, such as `threads=2,4` and `context=4096`.

    Raises:
        UsageError: one means nothing.
    """
    values: dict[str, list[str]] = {}
    for each in said:
        key, sign, listed = each.partition("=")
        parts = [part.strip() for part in listed.split(",")]
        if key not in TRIED or not sign or not all(parts):
            why = did_you_mean(key, TRIED) if key not in TRIED else ""
            known = ", ".join(TRIED)
            raise UsageError(
                f"--try {each} says nothing that could be tried.",
                why=why or f"Expected one of {known}, with values.",
                next_step="deploy bench SERVICE --try threads=4,8 --try context=4096,16384",
            )
        for part in parts:
            number = part.isdecimal() and int(part[:9]) > 0 and len(part) < 9
            if key in ("threads", "context", "parallel") and not number:
                raise UsageError(f"--try {each}: {part} is no number.", next_step=f"--try {key}=4,8")
            if part == NONE and key != "draft":
                raise UsageError(f"--try {each}: without a {key} there is nothing to measure.")
        values[key] = [*dict.fromkeys([*values.get(key, []), *parts])]
    found = [dict(zip(values, each, strict=True)) for each in product(*values.values())]
    if len(found) > _MOST:
        raise UsageError(
            f"these are {len(found)} declarations, and {_MOST} are tried at most.",
            why="Each of them loads the model, and is measured for a minute.",
            next_step="name fewer values",
        )
    return found


def tries(
    deployment: Deployment,
    service: str,
    changes: Sequence[Mapping[str, str]],
    asked: Mapping[str, int],
    interrupt: Interrupt | None = None,
    hosts: Sequence[str] | None = None,
) -> Generator[Tried]:
    """Measure each of `changes` in a place of its own.

    Args:
        asked: `prompt`, `generate` and `parallel`; where slots are tried, as many are asked at once.

    Raises:
        UsageError: there is no such service, or nobody knows that it generates anything.
        Refused: somebody else tries something there, or has a preview of that name.
        Interrupted: nothing is left of it.
    """
    declared = deployment.loaded.project.services.get(service)
    if declared is None:
        why = did_you_mean(service, deployment.loaded.project.services)
        raise UsageError(f"there is no service {service}.", why=why, next_step="deploy status")
    numbers = {"prompt": 512, "generate": 128, "parallel": 1}
    for check in declared.every_check:
        if check.bench:
            said = {key: getattr(check.bench, key) for key in numbers}
            numbers |= said
    previews.demand_none(deployment, PREVIEW, hosts)
    try:
        for change in changes:
            told = {**numbers, **({"parallel": int(change["parallel"])} if "parallel" in change else {}), **asked}
            yield _one(deployment, service, change, told, interrupt, hosts)
    finally:
        previews.down(deployment, PREVIEW, None, hosts)


def _one(
    deployment: Deployment,
    service: str,
    change: Mapping[str, str],
    asked: Mapping[str, int],
    interrupt: Interrupt | None,
    hosts: Sequence[str] | None,
) -> Tried:
    try:
        other = deployment.of(variant(deployment.loaded, deployment.target_name, service, change))
        previews.up(other, PREVIEW, _SECONDS, interrupt, hosts)
        there = previews.named_preview(other, PREVIEW, hosts)
        return Tried(change, tuple(bench(there, (service,), asked, hosts=hosts)))
    except Interrupted:
        raise
    except DeployError as error:
        return Tried(change, (), f"{error.what} {error.why}".strip())
