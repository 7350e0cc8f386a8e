"""What was measured by hand, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from provision.cli.render import columns

if TYPE_CHECKING:
    from provision.rollout import Benched, Tried

_HEAD = ("host", "service", "prompt", "generate", "parallel", "tokens/s", "first token p50", "p95")
_PRICE = "$ a million tokens"
_BESIDE = "beside it"


def bench_lines(found: Sequence[Benched]) -> list[str]:
    """A line for each; with prices and with who ran beside it where there is any."""
    prices = any(each.measured and "dollars_per_million" in each.measured for each in found)
    beside = any(each.measured and each.measured["beside"] for each in found)
    head = [*_HEAD, *([_PRICE] if prices else []), *([_BESIDE] if beside else [])]
    return columns([head, *(_cells(each) + _more(each, prices, beside) for each in found)])


def tried_lines(found: Sequence[Tried]) -> list[str]:
    """The same for each declaration; the one with the most tokens a second first."""
    keys = list(dict.fromkeys(key for each in found for key in each.change))
    rows = [(each, one) for each in found for one in each.found]
    measured = [one for _, one in rows]
    prices = any(one.measured and "dollars_per_million" in one.measured for one in measured)
    beside = any(one.measured and one.measured["beside"] for one in measured)
    head = [*keys, *_HEAD, *([_PRICE] if prices else []), *([_BESIDE] if beside else [])]
    rows.sort(key=lambda row: -_speed(row[1]))
    said = [
        [*(each.change.get(key, "-") for key in keys), *_cells(one), *_more(one, prices, beside)] for each, one in rows
    ]
    return columns([head, *said]) if said else []


def declared(change: Mapping[str, str]) -> str:
    """A declaration that was tried, as it was asked for."""
    return " ".join(f"{key}={value}" for key, value in change.items())


def _speed(each: Benched) -> float:
    return each.measured.get("full", each.measured["short"])["tokens_per_second"] if each.measured else 0.0


def _cells(each: Benched) -> list[str]:
    asked = [each.host, each.service, *map(str, (each.prompt, each.generate, each.parallel))]
    if each.measured is None:
        return [*asked, "-", "-", "-"]
    seen = each.measured.get("full", each.measured["short"])
    return [*asked, f"{seen['tokens_per_second']:.1f}", f"{seen['ttft_p50']:.2f} s", f"{seen['ttft_p95']:.2f} s"]


def _more(each: Benched, prices: bool, beside: bool) -> list[str]:
    price = each.measured.get("dollars_per_million") if each.measured else None
    others = each.measured["beside"] if each.measured else []
    return [
        *(["-" if price is None else f"{price:.2f}"] if prices else []),
        *(["; ".join(others) or "-"] if beside else []),
    ]


def wrong_lines(found: Sequence[Benched]) -> Iterator[str]:
    """What is to be said of them besides."""
    for each in found:
        if each.wrong:
            yield f"{each.host}: {each.service}: {each.wrong}"
