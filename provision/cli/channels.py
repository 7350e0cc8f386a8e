"""Moving channels: which repositories are meant, who decides, and `deploy image promote` itself."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from provision.cli.render.promotion import show_done, show_plan
from provision.errors import UsageError
from provision.images import connect, parse
from provision.images.promotion.declared import FILE, find_image, policy_of
from provision.images.promotion.here import actor, where
from provision.images.promotion.history import history_tag
from provision.images.promotion.move import Judge, apply, plan_promotion, plan_unsigned
from provision.images.promotion.seen import Seen
from provision.images.promotion.signing import SigningKey, own_key, read_public

if TYPE_CHECKING:
    from provision.cli.session import Session
    from provision.images import Reference, Repository
    from provision.images.promotion.declared import DeclaredImage
    from provision.images.promotion.move import Judge, PlannedMove
    from provision.images.promotion.policy import Policy
    from provision.images.promotion.signing import PublicKey

STABLE, CANARY = "stable", "canary"


def promote(
    session: Session,
    name: str,
    origin: str = CANARY,
    goal: str = STABLE,
    *,
    dry_run: bool = False,
    key: Path | None = None,
    private: Path | None = None,
    anew: bool = False,
) -> None:
    """Move `goal` to what `origin` stands for, if its evidence allows it.

    Args:
        name: an image of promotion.toml, or `REGISTRY/REPOSITORY`.
        origin, goal: as `channel_of` reads them.
        key: a file of public keys; evidence.pub by default.
        private: the key that signs the move; as `own_key` finds it by default.
        anew: whether the history of `goal` begins with this move, where it cannot be gone on with.

    Raises:
        UsageError: something given means nothing.
        Refused: something speaks against it.
        RegistryFailed: a registry did not take part.
    """
    declared = find_image(session.directory, name)
    origin_, goal_ = (
        channel_of(text, declared.repository, option) for text, option in ((origin, "--from"), (goal, "--to"))
    )
    if goal_.digest:
        raise UsageError(f"--to {goal} is a digest, which cannot be moved.", next_step=f"--to {STABLE}")
    policy = declared.policy
    if goal_.name != declared.repository.name:
        policy = policy_of(session.directory, goal_) or policy
    unsigned = key is None and not (session.directory / "evidence.pub").exists()
    if unsigned:
        _say_unsigned(session, declared)
        now = datetime.now(UTC).replace(microsecond=0)
        decides = Judge(policy, (), actor(), where(), now)
        source, target = _open_both(origin_, goal_)
        plan = plan_unsigned(source, origin_.wanted, target, goal_.tag, decides)
    else:
        decides = judge(session.directory, policy, key, None if dry_run else own_key(private))
        source, target = _open_both(origin_, goal_)
        plan = plan_promotion(source, origin_.wanted, target, goal_.tag, decides, anew=anew)
    carry_out(session, plan, decides, dry_run=dry_run)


def _say_unsigned(session: Session, declared: DeclaredImage) -> None:
    """The first thing that is said where there are no keys.

    Raises:
        UsageError: nobody consented to that.
    """
    what = "this promotion is UNSIGNED: evidence.pub is missing, so nothing tells what was proven"
    if not declared.unsigned:
        raise UsageError(
            f"{what}.",
            next_step=f"deploy image keys init; or consent in {FILE}: unsigned = true for {declared.repository.name}",
        )
    session.console.event({"event": "warning", "host": "", "text": f"{what} ({FILE}: unsigned = true)"})


def carry_out(session: Session, plan: PlannedMove, decides: Judge, *, dry_run: bool) -> None:
    """Show `plan`, do it, and say how it ended.

    Raises:
        Refused: something speaks against it.
        RegistryFailed: a registry did not take part.
    """
    show_plan(session.console, plan)
    try:
        if dry_run:
            plan.demand()
        else:
            with session.console.live():
                apply(plan, decides, session.console.event)
    finally:
        keep(session, decides.seen)
    show_done(session.console, plan, dry_run=dry_run)


def judge(directory: Path, policy: Policy, key: Path | None, private: SigningKey | None) -> Judge:
    """Who decides here and now, by `policy`.

    Args:
        private: signs the move.

    Raises:
        UsageError: there are no public keys, or `private` is the other half of none of them.
    """
    file = key or directory / "evidence.pub"
    trusted = read_public(file)
    if private and private.public.id not in {public.id for public in trusted}:
        raise UsageError(
            f"the key {private.public.id} is not in {file}, so nobody would believe what it signs.",
            why="Moves of a channel are signed, as evidence is.",
            next_step=f"append its public half to {file}, or give the key that belongs there",
        )
    now = datetime.now(UTC).replace(microsecond=0)
    return Judge(policy, trusted, actor(), where(), now, private, Seen.read())


def trusted_beside(directory: Path, private: SigningKey | None) -> list[PublicKey]:
    """The keys in evidence.pub, if it is there, and one's own."""
    file = directory / "evidence.pub"
    return [*(read_public(file) if file.exists() else []), *([private.public] if private else [])]


def keep(session: Session, seen: Seen) -> None:
    """Remember what was seen, or say that it is not."""
    if problem := seen.save():
        session.console.note(f"what was seen here is not remembered: {problem}")


def channel_of(text: str, repository: Reference, option: str) -> Reference:
    """What `--from` or `--to` means: a tag or digest of `repository`, or a whole `REGISTRY/REPOSITORY:TAG`.

    Raises:
        UsageError: it means nothing.
    """
    if "/" in text:
        found = parse(text)
        if not found.wanted:
            raise UsageError(f"{option} {text} names no tag.", next_step=f"{option} {text}:{STABLE}")
    else:
        found = parse(f"{repository.name}@{text}") if ":" in text else repository.tagged(text)
    if history_tag("") in found.tag:
        raise UsageError(f"{option} {text} is where a history stands, and no channel.")
    return found


def _open_both(origin: Reference, goal: Reference) -> tuple[Repository, Repository]:
    """The two repositories; one and the same object where they are the same."""
    target = connect(goal, write=True)
    if origin.name == goal.name:
        return target, target
    # REGISTRY_TOKEN opens what is written to, and is shown to no other registry.
    return connect(origin, write=False, own_token=origin.registry == goal.registry), target
