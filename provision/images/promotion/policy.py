"""What has to be proven before a channel may move. Pure: no network, no clock.

Each check counts by its newest result, whichever evidence holds it, so that one machine may try what another cannot;
and a failure is not outvoted by an older success.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from provision.images.promotion.evidence import CheckResult, Evidence, Finding

_SKEW = timedelta(minutes=5)  # how far the clocks of two machines may be apart


@dataclass(frozen=True)
class Policy:
    """What one image demands. Without any of these it demands that something was tried, and that all of it passed."""

    checks: tuple[str, ...] = ()  # must have been tried
    min_age: timedelta = timedelta()  # how long the digest has to have been on its channel
    max_age: timedelta | None = None  # older results do not count
    who: tuple[str, ...] = ()  # who may promote; empty: whoever the registry lets


def objections(
    policy: Policy, found: Sequence[Finding], *, since: datetime | None, who: str, now: datetime
) -> Iterator[str]:
    """Every reason not to promote, as a sentence without its end; none means that it may happen.

    Args:
        since: when the image came to the channel that it is promoted from; None where nobody recorded that.
    """
    counted = [item.evidence for item in found if item.evidence and item.counts]
    fresh = [item for item in counted if _is_fresh(item, policy, now)]
    newest = _newest(fresh)
    blocked = [f"evidence {item.artifact[:19]} {item.problem}" for item in found if item.blocks]
    yield from blocked
    if not found:
        yield "there is no evidence for this digest"
    elif not counted and not blocked:
        yield from (f"evidence {item.artifact[:19]} does not count: it {item.problem}" for item in found)
    elif counted and not fresh:
        yield from (_stale(item, policy, now) for item in counted)
    yield from (f"{name} failed ({_where(item)})" for name, (check, item) in newest.items() if not check.passed)
    if fresh and not newest:
        yield "the evidence holds no check at all"
    if fresh:
        yield from (f"{name} was not tried" for name in policy.checks if name not in newest)
    if policy.min_age and since is None:
        yield "nobody recorded since when it is on its channel"
    elif policy.min_age and since and now - since < policy.min_age:
        yield f"it came to its channel {_ago(now - since)}, and has to be there for {_span(policy.min_age)}"
    if policy.who and who not in policy.who:
        yield f"{who} is not among who may promote it ({', '.join(policy.who)})"


def _is_fresh(evidence: Evidence, policy: Policy, now: datetime) -> bool:
    age = now - evidence.at
    return age >= -_SKEW and (policy.max_age is None or age <= policy.max_age)


def _newest(counted: Sequence[Evidence]) -> dict[str, tuple[CheckResult, Evidence]]:
    """Each check's newest result; of two in the same second the failed one."""
    newest: dict[str, tuple[CheckResult, Evidence]] = {}
    for evidence in sorted(counted, key=lambda item: item.at):
        for check in evidence.checks:
            known = newest.get(check.name)
            if not (known and known[1].at == evidence.at and not known[0].passed):
                newest[check.name] = (check, evidence)
    return newest


def _stale(evidence: Evidence, policy: Policy, now: datetime) -> str:
    if evidence.at > now or policy.max_age is None:
        return f"the evidence is from the future ({_where(evidence)})"
    return f"the evidence has expired: it is from {_ago(now - evidence.at)}, and counts for {_span(policy.max_age)}"


def _where(evidence: Evidence) -> str:
    return f"{evidence.at:%Y-%m-%d %H:%M} UTC, {evidence.where}"


def _ago(age: timedelta) -> str:
    return f"{_span(max(age, timedelta()))} ago"


def _span(span: timedelta) -> str:
    seconds = span.total_seconds()
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"
