"""What a declared limit says of what users saw: fine, worse, or nothing yet.

Of a hundred rollouts whose canary keeps all of its limits, at most one is called worse, whatever is declared and
however often it is looked at: what may be wrong is divided among everything that is judged. Of a hundred canaries that
do not keep one, at most one is called fine; nothing is divided there, since that takes all limits to be.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional

from ...contract.rollout import LimitsDocument
from .seen import Seen
from .sequential import Evidence, Share, below, excess, longer
from .sketch import Sketch

WRONG_AT_MOST = 0.01  # of all rollouts, either way
# HAProxy writes down whole milliseconds, so of two times one may seem longer by one and shorter by one.
CLOCK_SECONDS = 0.002
_NO_SLOWER = 1.25  # times stable's time still count as no longer than that
_FARTHEST = 1 << 20  # times as many requests as there were; beyond that a forecast says nothing


class Verdict(Enum):
    FINE = "fine"  # the canary keeps the limit
    WORSE = "worse"  # it doesn't
    OPEN = "open"  # neither can be said yet


class Finding(NamedTuple):
    """One limit, held against what users of one service saw."""

    service: str
    limit: str  # as it is declared
    verdict: Verdict
    says: str  # a sentence with the figures


def judge(limits: LimitsDocument, seen: Mapping[str, Seen], steps: int) -> List[Finding]:
    """What can be said of each service by each limit.

    Args:
        seen: service -> what was seen since this step began.
        steps: how many there are in all, each of which may be wrong.
    """
    of = [(service, name) for service in seen for name in _JUDGES if name in limits and _has(seen[service], name)]
    bar = math.log(max(1, steps * len(of)) / WRONG_AT_MOST)
    found = []
    for service, name in of:
        what, value = seen[service], limits[name]  # type: ignore[literal-required]
        verdict = _verdict(_JUDGES[name](what, value), bar)
        found.append(Finding(service, name, verdict, f"{service}: {_SAYS[name](what, value)}"))
    return found


def requests_needed(limits: LimitsDocument, seen: Mapping[str, Seen], steps: int) -> Optional[int]:
    """How many requests the canary has had when each limit has a verdict, should it all go on like this.

    None where that can't be told: nobody asked it yet, or what was seen is too close to a limit.
    """
    times, requests = 1, sum(each.canary.requests for each in seen.values())
    while times <= _FARTHEST and requests:
        if all(each.verdict is not Verdict.OPEN for each in judge(limits, _many(seen, times), steps)):
            least, most = times // 2, times
            while most - least > 1:
                middle = (least + most) // 2
                is_done = all(each.verdict is not Verdict.OPEN for each in judge(limits, _many(seen, middle), steps))
                least, most = (least, middle) if is_done else (middle, most)
            return most * requests
        times *= 2
    return None


def _has(seen: Seen, limit: str) -> bool:
    """Whether a service can be held against a limit at all: one that is no engine makes no tokens."""
    return limit != "tokens_per_second" or seen.paces is not None


def _verdict(evidence: Evidence, bar: float) -> Verdict:
    if evidence.worse >= bar:
        return Verdict.WORSE
    return Verdict.FINE if evidence.fine >= -math.log(WRONG_AT_MOST) else Verdict.OPEN


def _errors(seen: Seen, most: float) -> Evidence:
    canary, stable = (Share(lane.errors, lane.requests) for lane in (seen.canary, seen.stable))
    return excess(canary, stable, most)


def _slower(seen: Seen, most: float) -> Evidence:
    bound = lambda seconds: seconds * (1 + most) + CLOCK_SECONDS  # noqa: E731
    return longer(seen.canary.first_byte, seen.stable.first_byte, 0.5, bound)


def _ttft_p95(seen: Seen, most: float) -> Evidence:
    """Where stable itself takes longer, as on a bad day, the canary may, too."""
    bound = lambda seconds: max(most, seconds * _NO_SLOWER)  # noqa: E731
    return longer(seen.canary.first_byte, seen.stable.first_byte, 0.95, bound)


def _tokens_per_second(seen: Seen, least: float) -> Evidence:
    return below(seen.paces or Sketch(), 0.5, 1 + least)


_JUDGES: Dict[str, Callable[[Seen, float], Evidence]] = {
    "errors": _errors,
    "slower": _slower,
    "ttft_p95": _ttft_p95,
    "tokens_per_second": _tokens_per_second,
}


def _say_errors(seen: Seen, most: float) -> str:
    shares = (_percent(lane.errors, lane.requests) for lane in (seen.canary, seen.stable))
    return "{} of the canary's requests failed, {} of stable's; {:.3g} % more may".format(*shares, most * 100)


def _say_slower(seen: Seen, most: float) -> str:
    ours, theirs = (_seconds(lane.first_byte, 0.5) for lane in (seen.canary, seen.stable))
    return (
        f"half of the canary's answers began within {ours}, of stable's within {theirs}; {most * 100:.3g} % more may be"
    )


def _say_ttft_p95(seen: Seen, most: float) -> str:
    ours, theirs = (_seconds(lane.first_byte, 0.95) for lane in (seen.canary, seen.stable))
    return f"95 of 100 of the canary's answers began within {ours}, of stable's within {theirs}; {most:.3g} s may be"


def _say_tokens_per_second(seen: Seen, least: float) -> str:
    ratio = (seen.paces or Sketch()).quantile(0.5)
    said = "no tokens to compare yet" if ratio is None else f"the canary makes {ratio:.2f} of stable's tokens a second"
    return f"{said}; {1 + least:.3g} is the least"


_SAYS: Dict[str, Callable[[Seen, float], str]] = {
    "errors": _say_errors,
    "slower": _say_slower,
    "ttft_p95": _say_ttft_p95,
    "tokens_per_second": _say_tokens_per_second,
}


def _percent(count: int, total: int) -> str:
    return f"{count / total:.1%} ({count} of {total})".replace("%", " %") if total else "none"


def _seconds(sketch: Sketch, share: float) -> str:
    value = sketch.quantile(share)
    return "no time, since there are none" if value is None else f"{value:.3g} s"


def _many(seen: Mapping[str, Seen], times: int) -> Dict[str, Seen]:
    return {name: each.times(times) for name, each in seen.items()}


def worst(findings: Iterable[Finding]) -> Verdict:
    """WORSE if one is, else OPEN if one is; FINE of none."""
    verdicts = {each.verdict for each in findings}
    return next((each for each in (Verdict.WORSE, Verdict.OPEN) if each in verdicts), Verdict.FINE)
