"""Moving a channel to bytes that were proven: first a plan, then that very plan.

Registries have no compare-and-swap. So the plan holds what every name stood for when it was made; applying it looks
again, writes the move down, puts the same bytes under the channel, and reads them back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from provision.errors import Refused, RegistryFailed, UsageError
from provision.images.promotion.chain import findings, heads
from provision.images.promotion.evidence import Finding
from provision.images.promotion.history import (
    PROMOTE,
    ROLLBACK,
    History,
    Move,
    append,
    demand_unwritten,
    read_history,
    remember,
)
from provision.images.promotion.policy import Policy, objections
from provision.images.promotion.seen import Seen
from provision.images.promotion.signing import PublicKey, SigningKey
from provision.images.registry.documents import ImageManifest
from provision.images.registry.repository import Repository
from provision.images.registry.together import together


@dataclass(frozen=True)
class Judge:
    """What decides whether a channel may move: the rules, whose signatures count, who asks, when, and what was seen."""

    policy: Policy
    trusted: Sequence[PublicKey]
    who: str
    where: str
    now: datetime  # in UTC, to the second
    key: SigningKey | None = None  # signs the move; nothing is moved without
    seen: Seen = field(default_factory=Seen)


@dataclass(frozen=True)
class PlannedMove:
    """One move of a channel, and all that was seen when it was planned."""

    kind: str  # PROMOTE or ROLLBACK
    source: Repository
    origin: str  # the tag that was resolved, or the digest
    target: Repository
    channel: str
    image: ImageManifest
    old: str  # what the channel stood for; empty: nothing
    history: History
    found: tuple[Finding, ...]
    objections: tuple[str, ...]
    unsigned: bool = False  # nobody signs: neither evidence nor the move

    @property
    def is_needless(self) -> bool:
        """Whether the channel is there already."""
        return self.old == self.image.digest

    def demand(self) -> None:
        """Go on only if nothing speaks against it.

        Raises:
            Refused: something speaks against it.
        """
        if self.objections and not self.is_needless:
            raise Refused(
                f"{self.target}:{self.channel} is not moved to {self.image.digest}.",
                why="; ".join(self.objections) + ".",
                next_step=f"deploy image inspect {self.source}@{self.image.digest}",
                details={"digest": self.image.digest, "objections": list(self.objections)},
            )


def plan_promotion(
    source: Repository, origin: str, target: Repository, channel: str, judge: Judge, *, anew: bool = False
) -> PlannedMove:
    """To move `channel` of `target` to what `origin`, a tag or a digest of `source`, stands for now.

    Args:
        anew: whether a history begins with this move, where what is there cannot be gone on with.

    Raises:
        RegistryFailed: there is no such image, or a registry does not answer.
    """
    ages = judge.policy.min_age and ":" not in origin
    image, old, history, stayed = together(
        lambda: source.get(origin),
        lambda: target.digest(channel),
        lambda: read_history(target, channel, judge.trusted, judge.seen),
        lambda: read_history(source, origin, judge.trusted, judge.seen) if ages else History(origin),
    )
    found, against = _judged(source, image, judge, history, stayed.since(image.digest))
    if ages:
        remember(judge.seen, source, stayed)
        against += (f"{stayed.tag} {stayed.problem}",) if stayed.problem else ()
    if why := history.against(old):
        history = history.anew if anew else history
        against += () if anew else (f"{why}; --anew begins it anew",)
    remember(judge.seen, target, history)
    return PlannedMove(PROMOTE, source, origin, target, channel, image, old, history, found, against)


def plan_unsigned(source: Repository, origin: str, target: Repository, channel: str, judge: Judge) -> PlannedMove:
    """The same where nobody can tell what was proven: by consent, which the caller has seen. Nothing is written down.

    Raises:
        Refused: the channel was moved by somebody who signs; that is not left behind unnoticed.
        RegistryFailed: there is no such image, or the registry does not answer.
    """
    image, old = together(lambda: source.get(origin), lambda: target.digest(channel))
    history = read_history(target, channel, judge.trusted, judge.seen)
    if history.written:
        raise Refused(
            f"{target}:{channel} is moved by those who sign: {history.tag} is there.",
            why="An unsigned move would be one that nobody wrote down.",
            next_step="put the public keys back into evidence.pub",
        )
    return PlannedMove(PROMOTE, source, origin, target, channel, image, old, history, (), (), unsigned=True)


def plan_rollback(target: Repository, channel: str, digest: str, judge: Judge) -> PlannedMove:
    """To move `channel` back to `digest`, or to what it stood for before.

    What was proven stays proven: ages do not matter here. So it has to be something that the channel stood for.

    Raises:
        Refused: the channel never stood for `digest`.
        UsageError: nothing is known of an earlier one.
        RegistryFailed: the image is gone, or the registry does not answer.
    """
    old, history = together(
        lambda: target.digest(channel), lambda: read_history(target, channel, judge.trusted, judge.seen)
    )
    wanted = digest or history.previous(old)
    if not wanted:
        raise UsageError(
            f"{target}:{channel} has no earlier image to go back to.",
            why=f"{why}." if (why := history.against(old)) else "Its history names none.",
            next_step=f"deploy image promote {target} --from sha256:… --to {channel}{' --anew' if why else ''}",
        )
    if wanted not in history.stood(old):
        raise Refused(
            f"{target}:{channel} never was {wanted}, so it cannot go back to that.",
            why=f"{why}." if (why := history.against(old)) else "",
            next_step=f"deploy image promote {target} --from {wanted} --to {channel}",
        )
    image = target.get(wanted)
    lenient = replace(judge, policy=replace(judge.policy, min_age=timedelta(), max_age=None))
    found, against = _judged(target, image, lenient, history, None)
    remember(judge.seen, target, history)
    return PlannedMove(ROLLBACK, target, wanted, target, channel, image, old, history, found, against)


def apply(plan: PlannedMove, judge: Judge, on_event: Callable[[Mapping[str, Any]], None]) -> None:
    """Do what `plan` says, or nothing.

    Raises:
        Refused: something speaks against it, or a name stands for something else than when it was planned.
        RegistryFailed: a registry did not take part; the channel is where it was, or the message says otherwise.
    """
    plan.demand()
    if plan.is_needless:
        return
    if judge.key is None and not plan.unsigned:
        raise UsageError(
            f"{plan.target}:{plan.channel} is not moved without a key.",
            why="Moves are written down and signed.",
            next_step="deploy image keygen, or set DEPLOY_EVIDENCE_KEY",
        )
    if plan.source is not plan.target:
        from provision.images.registry.copying import copy_image

        copy_image(plan.source, plan.target, plan.image, on_event)
    together(
        lambda: None if ":" in plan.origin else _demand_still(plan.source, plan.origin, plan.image.digest),
        lambda: _demand_still(plan.target, plan.channel, plan.old),
        lambda: demand_unwritten(plan.target, plan.history),
    )
    if judge.key is None:
        put_channel(plan.target, plan.channel, plan.old, plan.image)
        return
    move = Move(plan.kind, plan.old, plan.image.digest, judge.now, judge.who, judge.where, heads(plan.found))
    written = append(plan.target, plan.history, move, plan.image, judge.key)
    put_channel(plan.target, plan.channel, plan.old, plan.image)
    remember(judge.seen, plan.target, written)


def put_channel(target: Repository, channel: str, old: str, image: ImageManifest) -> None:
    """Let `channel`, which stood for `old`, stand for `image`, and read it back.

    Raises:
        Refused: somebody else moved it at the same moment.
        RegistryFailed: the registry did not take it; or it is not known whether it did.
    """
    try:
        target.put(image, channel)
        now = target.get(channel).digest
    except (RegistryFailed, Refused) as error:
        now = _after(error, target, channel)
        if now == old:
            error.why = " ".join(filter(None, [error.why, f"{channel} still is {old or 'nothing'}."]))
            raise
    if now != image.digest:
        raise Refused(
            f"somebody else moved {target}:{channel} at the same moment.",
            why=f"It was to be {image.digest}, and is {now}.",
            next_step="agree on who moves it; in CI, a concurrency group lets one at a time",
        )


def _after(error: RegistryFailed | Refused, target: Repository, channel: str) -> str:
    """Where the channel is after a write that failed: the answer may have been lost, not the write."""
    try:
        return target.digest(channel)
    except (RegistryFailed, Refused):
        raise RegistryFailed(
            f"it is not known whether {target}:{channel} was moved: {error.what}",
            why=error.why,
            next_step=f"once the registry answers: deploy image inspect {target}:{channel}, and the same command again",
            details=error.details,
        ) from None


def _judged(
    source: Repository, image: ImageManifest, judge: Judge, history: History, since: datetime | None
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    name = f"{source}@{image.digest}"
    known = {**history.resting_on(image.digest), **judge.seen.beside(name)}
    found = tuple(findings(source, image.digest, judge.trusted, known))
    if found and not any(item.blocks for item in found):
        newest = heads(found)
        at = {item.artifact: item.evidence.at for item in found if item.evidence and item.artifact in newest}
        judge.seen.saw_evidence(name, at)
    return found, tuple(objections(judge.policy, found, since=since, who=judge.who, now=judge.now))


def _demand_still(repository: Repository, tag: str, planned: str) -> None:
    now = repository.digest(tag)
    if now != planned:
        raise Refused(
            f"{repository}:{tag} was moved since this was planned.",
            why=f"It was {planned or 'nothing'}, and is {now or 'nothing'}.",
            next_step="look at what moved it, then plan again",
        )
