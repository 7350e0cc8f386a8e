"""The hosts of a run, and what all of them gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from provision import errors
from provision.hosts import HostResult, HostSpec
from provision.project.fault import did_you_mean
from provision.targets import Deployment


def chosen(deployment: Deployment, names: Sequence[str] | None) -> list[HostSpec]:
    """The target's hosts, or those of `names`.

    Raises:
        UsageError: the target has no such host.
    """
    specs = deployment.hosts
    if not names:
        return specs
    known = {spec.name: spec for spec in specs} | {spec.address: spec for spec in specs}
    for name in names:
        if name not in known:
            raise errors.UsageError(
                f'target {deployment.target_name} has no host "{name}".',
                why=did_you_mean(name, known) or f"It has: {', '.join(spec.name for spec in specs)}.",
            )
    return [known[name] for name in names]


def values(results: Sequence[HostResult[Any]]) -> list[Any]:
    """What each host gave.

    Raises:
        DeployError: the only host's own error, or SomeHostsFailed that tells all of them.
    """
    given, failed = apart(results)
    if len(results) == 1:
        for error in failed.values():
            raise error
    if failed:
        raise errors.SomeHostsFailed(
            f"{len(failed)} of {len(results)} hosts failed.",
            why="\n".join(str(error) for error in failed.values()),
            details={"failed": {host: str(error) for host, error in failed.items()}},
        )
    return given


def apart(results: Sequence[HostResult[Any]]) -> tuple[list[Any], dict[str, errors.DeployError]]:
    """What hosts gave; and of those that gave nothing, why.

    Raises:
        Exception: a fault of ours or of the project, which is not of a host.
    """
    failed: dict[str, errors.DeployError] = {}
    for result in results:
        if isinstance(result.error, errors.DeployError) and not isinstance(result.error, errors.DeclarationError):
            failed[result.spec.name] = result.error
        elif result.error is not None:
            raise result.error
    return [result.value for result in results if result.error is None], failed
