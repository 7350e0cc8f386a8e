"""How often an analysis is wrong, and how many requests and minutes it takes to say something.

    python -m benchmarks.verdicts [--runs 1000] [--only "5 % errors"]

Simulated rollouts of a service that answers ten requests a second: 0.5 % of stable's requests fail, half of the answers
begin within 350 ms (a log-normal distribution). The keeper's own code is fed and asked every 15 s. It fails where more
than one run in a hundred ends with the wrong word.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from typing import NamedTuple

from provision.agent.analysis import PACE_SECONDS, Lane, Move, Seen, Sketch, decide
from provision.agent.analysis.sketch import edge_above
from provision.contract.rollout import RolloutDocument

ROLLOUT: RolloutDocument = {
    "steps": [0.05, 0.25, 0.5],
    "each": 300.0,
    "at_most": 7200.0,
    "undecided": "hold",
    "abort": {"errors": 0.02, "slower": 0.25, "ttft_p95": 2.0, "tokens_per_second": -0.2},
}
_ERRORS, _MEDIAN_SECONDS, _SPREAD = 0.005, 0.35, 0.6
_PACE_SPREAD = 0.1  # of one comparison of tokens a second, as a part of it
_POOL = 1 << 14  # answers that are drawn from
_FAILED = -1


class Case(NamedTuple):
    """What is different about a canary, or about the day."""

    name: str
    right: Move
    errors: float = _ERRORS
    slower: float = 1.0
    pace: float = 1.0
    bad_minutes: float = 0.0  # the share of minutes in which both lanes fail 30 % and take three times as long
    a_second: float = 10.0


CASES = (
    Case("5 % errors", Move.ABORT, errors=0.05),
    Case("twice the time to first byte", Move.ABORT, slower=2.0),
    Case("half the tokens a second", Move.ABORT, pace=0.5),
    Case("equal", Move.PROMOTE),
    Case("equal, on a bad day", Move.PROMOTE, bad_minutes=0.05),
    Case("equal, 3 requests a minute", Move.HOLD, a_second=0.05),
)


class Run(NamedTuple):
    end: Move
    minutes: float
    requests: int  # of the canary


class _Answers:
    """Answers of one lane to draw from, as buckets of a sketch."""

    def __init__(self, chance: random.Random, errors: float, median: float) -> None:
        drawn = (median * chance.lognormvariate(0.0, _SPREAD) for _ in range(_POOL))
        self._pool = [_FAILED if chance.random() < errors else edge_above(seconds) for seconds in drawn]

    def feed(self, lane: Lane, number: int, chance: random.Random) -> None:
        drawn = Counter(chance.choices(self._pool, k=number))
        lane.requests += number
        lane.errors += drawn.pop(_FAILED, 0)
        lane.first_byte.extend([Sketch(drawn)])


class Day:
    """What both lanes of a case answer, on good minutes and on bad ones."""

    def __init__(self, case: Case, chance: random.Random) -> None:
        self.case = case
        self._good, self._bad = (
            (_Answers(chance, case.errors + more, median * case.slower), _Answers(chance, _ERRORS + more, median))
            for more, median in ((0.0, _MEDIAN_SECONDS), (0.3, 3 * _MEDIAN_SECONDS))
        )

    def run(self, chance: random.Random) -> Run:
        """One rollout to its end."""
        seconds = requests = 0.0
        for step, share in enumerate(ROLLOUT["steps"]):
            seen, since, is_bad = Seen(paces=Sketch()), 0.0, False
            while True:
                if since % 60 == 0:
                    is_bad = chance.random() < self.case.bad_minutes
                since += PACE_SECONDS
                canary, stable = self._bad if is_bad else self._good
                of_canary = _poisson(self.case.a_second * PACE_SECONDS * share, chance)
                of_stable = _poisson(self.case.a_second * PACE_SECONDS * (1 - share), chance)
                canary.feed(seen.canary, of_canary, chance)
                stable.feed(seen.stable, of_stable, chance)
                if seen.paces and of_canary and of_stable:
                    seen.paces.add(self.case.pace * chance.lognormvariate(0.0, _PACE_SPREAD))
                move = decide(ROLLOUT, step, since, {"llama": seen}).move
                if move is not Move.WAIT:
                    break
            seconds, requests = seconds + since, requests + seen.canary.requests
            if move is not Move.ADVANCE:
                return Run(move, seconds / 60, int(requests))
        raise AssertionError("the last step promotes")


def _poisson(mean: float, chance: random.Random) -> int:
    """How many arrive where each comes by itself."""
    number, left = 0, mean - chance.expovariate(1.0)
    while left > 0:
        number, left = number + 1, left - chance.expovariate(1.0)
    return number


def simulate(case: Case, runs: int, seed: int) -> list[Run]:
    """The same for the same seed."""
    chance = random.Random(f"{case.name} {seed}")
    day = Day(case, chance)
    return [day.run(chance) for _ in range(runs)]


def wrong(case: Case, found: list[Run]) -> int:
    """How many ended with the word that must not be: promoted where it is worse, aborted where it isn't."""
    never = Move.PROMOTE if case.right is Move.ABORT else Move.ABORT
    return sum(run.end is never for run in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=[case.name for case in CASES])
    asked = parser.parse_args()
    print(f"{asked.runs} runs each; 10th, 50th, 90th and 99th of 100 runs\n")
    print("| canary | aborted | promoted | undecided | wrong | its requests | minutes |")
    print("|---|---|---|---|---|---|---|")
    began, too_many = time.monotonic(), 0
    for case in CASES:
        if asked.only in (None, case.name):
            found = simulate(case, asked.runs, asked.seed)
            ends = Counter(run.end for run in found)
            minutes, requests = _spread([run.minutes for run in found]), _spread([run.requests for run in found])
            counts = " | ".join(str(ends[move]) for move in (Move.ABORT, Move.PROMOTE, Move.HOLD))
            print(f"| {case.name} | {counts} | {wrong(case, found)} | {requests} | {minutes} |", flush=True)
            too_many += wrong(case, found) * 100 > asked.runs
    print(f"\n{time.monotonic() - began:.0f} s")
    sys.exit(1 if too_many else 0)


def _spread(values: list[float]) -> str:
    ordered = sorted(values)
    return ", ".join(f"{ordered[min(len(ordered) - 1, len(ordered) * part // 100)]:.0f}" for part in (10, 50, 90, 99))


if __name__ == "__main__":
    main()
