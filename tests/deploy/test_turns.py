"""Whose turn it is in a rollout over several hosts: a table."""

from __future__ import annotations

from typing import Any, cast

import pytest

from provision.contract.rollout import RolloutAsked, RolloutRecord, begun
from provision.rollout.batches import batches
from provision.rollout.turns import Stands, Turn, turns

NEW, OLD, OTHER = "n" * 64, "o" * 64, "x" * 64


def record(status: str, *waits_for: str, release: str = NEW) -> RolloutRecord:
    document: Any = {"steps": [0.5], "each": 60.0, "at_most": 600.0, "undecided": "hold", "abort": {"errors": 0.02}}
    asked: RolloutAsked = {"document": document, "evidence": False, "waits_for": list(waits_for)}
    return cast("RolloutRecord", {**begun(asked, f"t-{status}", release, "ann", 3), "status": status})


def stands(status: str, *waits_for: str, stable: str = OLD, release: str = NEW) -> Stands:
    return Stands(stable, record(status, *waits_for, release=release) if status else None)


B = {"b": stands("waiting", "a")}
BEGINS, ENDS = [Turn("b", "t-waiting")], [Turn("b", "t-waiting", "a")]

CASES: dict[str, tuple[dict[str, Stands | None], list[Turn]]] = {
    "promoted there": ({"a": stands("promoted", stable=NEW), **B}, BEGINS),
    "came to stable there without a rollout": ({"a": stands("", stable=NEW), **B}, BEGINS),
    "passed, and waits for a signature": ({"a": stands("passed"), **B}, BEGINS),
    "still judged": ({"a": stands("running"), **B}, []),
    "paused": ({"a": stands("paused"), **B}, []),
    "held, which somebody may resume": ({"a": stands("held"), **B}, []),
    "aborted": ({"a": stands("aborted"), **B}, ENDS),
    "aborted, and brought to all by hand afterwards": ({"a": stands("aborted", stable=NEW), **B}, BEGINS),
    "another release was aborted": ({"a": stands("aborted", release=OTHER), **B}, []),
    "promoted, and taken back since": ({"a": stands("", stable=OLD), **B}, []),
    "does not say how it stands": ({"a": None, **B}, []),
    "the target has it no more": (dict(B), BEGINS),
    "one of two": ({"a": stands("promoted", stable=NEW), "c": stands("running"), "b": stands("waiting", "a", "c")}, []),
    "one of two refused it": (
        {"c": stands("running"), "a": stands("aborted"), "b": stands("waiting", "c", "a")},
        ENDS,
    ),
    "paused before its turn": ({"a": stands("promoted", stable=NEW), "b": stands("paused", "a")}, []),
}


@pytest.mark.parametrize("case", CASES)
def test_a_host_begins_when_those_before_it_were_good_enough(case: str) -> None:
    hosts, expected = CASES[case]
    assert turns(hosts) == expected


@pytest.mark.parametrize(
    ("canary", "batch", "expected"),
    [
        (1, "100%", ["a", "bcde"]),
        (1, 2, ["a", "bc", "de"]),
        (2, "25%", ["ab", "cd", "e"]),
        (0, "40%", ["ab", "cd", "e"]),
        (9, "100%", ["abcde"]),
    ],
)
def test_hosts_go_in_batches_with_the_canaries_first(canary: int, batch: str | int, expected: list[str]) -> None:
    assert ["".join(group) for group in batches("abcde", canary, batch)] == expected
