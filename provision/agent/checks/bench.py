"""Probe of `bench`: the service is as fast as declared, and as what stable measured on this host.

A first, short round is measured always; while users wait, it is all that is. Where a limit is missed, or stable was
faster, all is measured once more and the better half counts: one moment of somebody else's is no verdict. Where others
used cores or the GPU meanwhile, it is said who, and nothing is compared with stable.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, List, Optional, cast

from . import load
from .check import Failed, Final

if TYPE_CHECKING:
    from ...contract.bench import Measured, Rates
    from ...contract.checks import CheckDocument
    from ...contract.events import Facts
    from .check import Streams

    class BenchCheck(CheckDocument):
        url: str
        token: str
        prompt: int
        generate: int
        parallel: int
        ttft_p95: float  # seconds; 0: no limit
        tokens_per_second: float
        regression: float  # a part of what stable measured; 0: it is not compared

    class Measuring(BenchCheck, total=False):
        """As a transaction asks it."""

        form: str  # "full" or "short"; where a transaction leaves it out, nothing is measured
        stable: Optional[Measured]  # what stable measured on this host
        per_hour: float  # dollars that this machine costs


_SHORT = 32  # tokens of each request of the short form
_ROUNDS = 3
_ENOUGH_SECONDS = 60.0  # of rounds: a slow one says as much


def attempt(check: Measuring, reach: Streams, seconds: float) -> Facts:
    began = time.monotonic()
    asked = load.Load(reach, check["url"], check["prompt"], began + seconds)  # fails while a model is loaded
    try:
        measured = _measure(check, reach, asked)
        wrong = missed(check, measured) + measured["worse"]
        if wrong and time.monotonic() - began < seconds / 2:
            measured = better(measured, _measure(check, reach, asked))
            measured["worse"] = worse(check, measured)
            wrong = missed(check, measured) + measured["worse"]
    except Failed as failure:
        raise Final(str(failure)) from None
    if wrong:
        others = "; meanwhile " + ", ".join(measured["beside"]) if measured["beside"] else ""
        raise Final("; ".join(wrong) + others, cast("Facts", measured))
    return cast("Facts", measured)


def _measure(check: Measuring, reach: Streams, asked: load.Load) -> Measured:
    beside = reach.beside()
    short = [asked.round(check["parallel"], min(_SHORT, check["generate"]))]
    measured: Measured = {"short": load.rates(short), "beside": [], "worse": []}
    if check.get("form") != "short":
        rounds: List[List[load.Met]] = []
        since = time.monotonic()
        while not rounds or (len(rounds) < _ROUNDS and time.monotonic() - since < _ENOUGH_SECONDS):
            rounds.append(asked.round(check["parallel"], check["generate"]))
        measured["full"] = load.rates(rounds)
    measured["beside"] = beside()
    if check.get("per_hour"):
        best = _best(measured)
        measured["dollars_per_million"] = round(
            check["per_hour"] / 3600 * best["seconds"] / max(best["generated"], 1) * 1e6, 4
        )
    measured["worse"] = worse(check, measured)
    return measured


def _best(measured: Measured) -> Rates:
    """The more telling part of what was measured."""
    return measured.get("full", measured["short"])


def missed(check: Measuring, measured: Measured) -> List[str]:
    """The limits that it does not keep, as sentences."""
    seen = _best(measured)
    wrong = []
    if check["ttft_p95"] and seen["ttft_p95"] > check["ttft_p95"]:
        wrong.append(
            "the first token takes {:.2f} s (95th percentile), and at most {:g} s are declared".format(
                seen["ttft_p95"], check["ttft_p95"]
            )
        )
    if seen["tokens_per_second"] < check["tokens_per_second"]:
        wrong.append(
            "{:.1f} tokens/s of {} requests at once, below the {:g} that are declared".format(
                seen["tokens_per_second"], check["parallel"], check["tokens_per_second"]
            )
        )
    return wrong


def worse(check: Measuring, measured: Measured) -> List[str]:
    """In what stable was better, as sentences; notes in `measured` with what it was compared."""
    stable, allowed = check.get("stable"), check["regression"]
    measured.pop("stable", None)
    if not stable or not allowed or measured["beside"]:
        return []
    seen, then = measured["short"], stable["short"]
    if "full" in measured and "full" in stable:
        seen, then = measured["full"], stable["full"]
    measured["stable"] = then
    wrong = []
    if seen["tokens_per_second"] < (1 - allowed) * then["tokens_per_second"]:
        wrong.append(
            "{:.1f} tokens/s, and stable measured {:.1f} here: more than {:.0%} less".format(
                seen["tokens_per_second"], then["tokens_per_second"], allowed
            )
        )
    # The median: of a dozen requests the 95th percentile is one.
    if seen["ttft_p50"] > (1 + allowed) * then["ttft_p50"]:
        wrong.append(
            "the first token takes {:.2f} s, and stable measured {:.2f} s here: more than {:.0%} longer".format(
                seen["ttft_p50"], then["ttft_p50"], allowed
            )
        )
    return wrong


def better(one: Measured, other: Measured) -> Measured:
    """The one of two measurements with more tokens a second."""
    return max((one, other), key=lambda each: _best(each)["tokens_per_second"])
