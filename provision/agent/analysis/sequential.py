"""Evidence that may be looked at after every request: all of the statistics, and where they come from.

A test at a fixed number of requests is wrong as often as it promises; one that is repeated until it says something is
wrong far more often. What is used here is an *e-process*: a number that is above 1 / a with a probability of at most a,
over all looks together, as long as what it speaks against is true (Ville's inequality). So one may look at any time,
stop at any time, and go on.

For something that happens with a probability p, the number is how much better a mixture of all probabilities tells
what was seen than p does (Robbins, "Statistical methods related to the law of the iterated logarithm", Annals of
Mathematical Statistics 41, 1970; as a set of all p that are left: Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform,
nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49, 2021). The mixture is Jeffreys' prior, the
Beta distribution with 1/2 and 1/2, which after n requests costs no more than log(n)/2 + log(2) over the best p
(Krichevsky and Trofimov, "The performance of universal encoding", IEEE Transactions on Information Theory 27, 1981).

- *A set of probabilities* is spoken against no more than that one of them which is spoken against least.
- *Two lanes* are independent, so their numbers multiply. What is asked is a difference, and where stable itself lies is
  not known: it is put where both numbers together speak least.
- *A quantile* is at most x if enough of all answers took at most x: that again counts how often something happens,
  whatever the distribution (Howard and Ramdas, "Sequential estimation of quantiles with applications to A/B testing
  and best-arm identification", Bernoulli 28, 2022). Of two lanes, stable's quantile is tried in each bucket.
- *Hedging*: the mean of e-processes and of 1 is one, too, and the largest of them divided by their number is no more
  than that. Stable has far more requests than the canary, and for what is true of it the number tends to 0, which would
  hide what the canary's shows; so it costs no more than log(2) or log(3).

What it rests on: requests of a lane are alike and do not hang together. Minutes that are bad for both lanes are bad for
both, since a step keeps its weights (`benchmarks/verdicts.py` tries that); one client who meets all the errors is
taken for many.

All evidence is a natural logarithm; 0 or less says nothing.
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Callable, List, NamedTuple

from .sketch import MOST, Sketch, edge, edge_above, edge_below

_LOG_PI = math.log(math.pi)  # of the Beta function at 1/2 and 1/2
_LOG_2 = math.log(2)
_GOLDEN = (math.sqrt(5) - 1) / 2
_CUTS = 30  # of an interval that is at most 1


class Share(NamedTuple):
    """How many of all did what is asked about."""

    had: int
    total: int

    @property
    def mean(self) -> float:
        return self.had / self.total if self.total else 0.0


class Evidence(NamedTuple):
    """What speaks for it that the canary keeps within its margin, and for it that it does not."""

    worse: float
    fine: float


NOTHING = Evidence(0.0, 0.0)


def excess(canary: Share, stable: Share, margin: float) -> Evidence:
    """Whether something happens more often by `margin` (0.02: two of a hundred) on the canary than on stable."""
    if not canary.total:
        return NOTHING
    # Least is between where each lane alone would be spoken against least; the sum is convex.
    ends = sorted(min(max(share, 0.0), 1.0 - margin) for share in (stable.mean, canary.mean - margin))
    evidence = _least(lambda share: _hedged(_against(stable, share)) + _against(canary, share + margin), *ends)
    return Evidence(evidence, 0.0) if canary.mean > stable.mean + margin else Evidence(0.0, evidence)


def below(canary: Sketch, share: float, limit: float) -> Evidence:
    """Whether the value that `share` of all keep within is below `limit`."""
    return Evidence(
        _against_at_most(Share(_upto(canary, edge_below(limit)), canary.total), share),
        _against_at_least(Share(_upto(canary, edge_above(limit)), canary.total), share),
    )


def longer(canary: Sketch, stable: Sketch, share: float, bound: Callable[[float], float]) -> Evidence:
    """Whether the value that `share` of all keep within is above what `bound` makes of stable's.

    Args:
        bound: grows with its argument.
    """
    if not canary.total or not stable.total:
        return NOTHING
    ours, theirs = _cumulated(canary), _cumulated(stable)

    def standing(bucket: int) -> float:
        """Against it that stable's quantile lies in this bucket."""
        under = _against_at_most(Share(theirs[bucket - 1] if bucket else 0, stable.total), share)
        over = _against_at_least(Share(theirs[bucket], stable.total), share)
        return _hedged(under, over)

    def worse(bucket: int) -> float:
        return _hedged(_against_at_least(Share(ours[edge_above(bound(edge(bucket)))], canary.total), share))

    def fine(bucket: int) -> float:
        least = edge(bucket - 1) if bucket else 0.0
        return _hedged(_against_at_most(Share(ours[edge_below(bound(least))], canary.total), share))

    middle = next(bucket for bucket, count in enumerate(theirs) if count >= share * stable.total)
    found = []
    for evidence in (worse, fine):
        least = math.inf
        for buckets in (range(middle, len(theirs)), range(middle - 1, -1, -1)):
            for bucket in buckets:
                stands = standing(bucket)
                least = min(least, stands + evidence(bucket))
                if stands - _LOG_2 > least:  # it grows on this side, and no canary takes more than log(2) away
                    break
        found.append(least)
    return Evidence(*found)


def _against(seen: Share, share: float) -> float:
    """Against it that the probability is `share`; convex in it."""
    count, others = seen.had, seen.total - seen.had
    if (share <= 0.0 and count) or (share >= 1.0 and others):
        return math.inf
    mixture = math.lgamma(count + 0.5) + math.lgamma(others + 0.5) - math.lgamma(seen.total + 1) - _LOG_PI
    return mixture - (count * math.log(share) if count else 0.0) - (others * math.log1p(-share) if others else 0.0)


def _against_at_most(seen: Share, share: float) -> float:
    return _against(seen, min(share, seen.mean))


def _against_at_least(seen: Share, share: float) -> float:
    return _against(seen, max(share, seen.mean))


def _hedged(*evidence: float) -> float:
    return max(0.0, *evidence) - math.log(1 + len(evidence))


def _least(of: Callable[[float], float], low: float, high: float) -> float:
    """The least value of a convex function, by golden section."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = of(left), of(right)
    for _ in range(_CUTS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = of(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = of(right)
    return min(at_left, at_right)


def _upto(sketch: Sketch, number: int) -> int:
    return sum(count for bucket, count in sketch.counts.items() if bucket <= number)


def _cumulated(sketch: Sketch) -> List[int]:
    """How many values do not exceed each edge."""
    counts = [0] * (edge_above(MOST) + 1)
    for bucket, count in sketch.counts.items():
        counts[bucket] = count
    return list(accumulate(counts))


__all__ = ["Evidence", "Share", "below", "excess", "longer"]
