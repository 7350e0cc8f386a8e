"""What the verbs of `deploy image` have in common: which repositories are meant, and who decides."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provision.errors import UsageError

if TYPE_CHECKING:
    from provision.images import Reference, Repository
    from provision.images.promotion.move import Judge
    from provision.images.promotion.policy import Policy

STABLE, CANARY = "stable", "canary"
key_option = click.option(
    "--key", type=click.Path(dir_okay=False, path_type=Path), help="Public keys that count (default: evidence.pub)."
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Show all of it; change nothing.")


def judge(directory: Path, policy: Policy, key: Path | None) -> Judge:
    """Who decides here and now, by `policy`.

    Raises:
        UsageError: there are no public keys.
    """
    from provision.images.promotion.here import actor, place
    from provision.images.promotion.move import Judge
    from provision.images.promotion.signing import read_public

    trusted = read_public(key or directory / "evidence.pub")
    return Judge(policy, trusted, actor(), place(), datetime.now(UTC).replace(microsecond=0))


def channel_of(text: str, repository: Reference, option: str) -> Reference:
    """What `--from` or `--to` means: a tag or digest of `repository`, or a whole `REGISTRY/REPOSITORY:TAG`.

    Raises:
        UsageError: it means nothing.
    """
    from provision.images import parse
    from provision.images.promotion.history import history_tag

    if "/" in text:
        found = parse(text)
        if not found.wanted:
            raise UsageError(f"{option} {text} names no tag.", next_step=f"{option} {text}:{STABLE}")
    else:
        found = parse(f"{repository.name}@{text}") if ":" in text else repository.tagged(text)
    if history_tag("") in found.tag:
        raise UsageError(f"{option} {text} is where a history stands, and no channel.")
    return found


def open_both(origin: Reference, goal: Reference) -> tuple[Repository, Repository]:
    """The two repositories; one and the same object where they are the same."""
    from provision.images import connect

    target = connect(goal, write=True)
    if origin.name == goal.name:
        return target, target
    # REGISTRY_TOKEN opens what is written to, and is shown to no other registry.
    return connect(origin, write=False, own_token=origin.registry == goal.registry), target
