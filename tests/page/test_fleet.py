"""A fleet as rows: the worst first, those that say the same together."""

from __future__ import annotations

import time
from typing import Any

import pytest

from provision.errors import Unreachable
from provision.page import fleet
from provision.page.poller import Heard
from provision.page.rendering import render, stands
from tests.cli.test_status import DEGRADED, ENDED, standing

NOW = time.time()


def _row(host: str, **heard: Any) -> fleet.Row:
    return fleet.row("prod", host, Heard(at=NOW, **heard), NOW)


def test_of_a_thousand_hosts_the_worst_come_first_and_those_that_say_the_same_have_one_line() -> None:
    rows = [_row(f"gpu-{number:04}", value=standing()) for number in range(997)]
    rows += [_row("ill", value=standing(ENDED)), _row("worst", value=standing(journal=DEGRADED))]
    rows += [_row("gone", error=Unreachable("no answer."))]
    groups = fleet.groups(rows)
    assert [group.first.state for group in groups] == ["degraded", "failing", "unreachable", "serving"]
    assert fleet.counted(rows) == [("degraded", 1), ("failing", 1), ("unreachable", 1), ("serving", 997)]
    assert [fleet.has_head(group) for group in groups] == [False, False, False, True]
    assert [fleet.is_line(group.first, len(rows)) for group in groups] == [False, False, False, True]


def test_who_was_serving_and_does_not_answer_any_more_is_not_told_as_serving() -> None:
    row = _row("gpu-03", value=standing(), error=Unreachable("no answer.", next_step="ping it"))
    assert (row.state, row.stale, row.says, row.next) == ("unreachable", True, "no answer.", "ping it")
    assert [each.activity for each in row.programs] == ["running"]  # what it said last is there, as old


def test_who_has_not_answered_for_a_while_is_told_as_old() -> None:
    assert fleet.row("prod", "gpu-03", Heard(standing(), NOW - 14), NOW).stale is False
    assert fleet.row("prod", "gpu-03", Heard(standing(), NOW - 16), NOW).stale is True


def test_stable_serves_since_the_transaction_that_brought_it() -> None:
    def entry(number: int, release: str) -> dict[str, Any]:
        return {"sequence": number, "kind": "up", "who": "ann", "time": number, "transaction": "t"} | {
            "channels": {"stable": release * 64},
            "outcome": "committed",
        }

    history = [entry(1, "r"), entry(2, "q"), entry(3, "r"), entry(4, "r")]
    row = _row("gpu-03", value=standing(history=history))
    assert row.served
    assert row.served["time"] == 3


# How often a program was started again, and how many seconds ago the last time; what is told of it.
AGAIN: list[tuple[int, float, str]] = [
    (1, 5.0, "started again once within ten minutes, last less than 1 min ago"),
    (3, 185.0, "started again 3 times within ten minutes, last 3 min ago"),
]


@pytest.mark.parametrize(("times", "ago", "says"), AGAIN)
def test_of_what_was_started_again_its_program_says_how_often_and_when(times: int, ago: float, says: str) -> None:
    row = _row("gpu-03", value=standing({"restarted": {"times": times, "ago": ago}}))
    assert row.state == "restarting"
    assert [each.detail for each in row.programs] == [says]


def test_names_from_hell_are_text() -> None:
    hell = '"><script>alert(1)</script>\x1b[31m\u202e'
    row = _row(hell, value=standing({"detail": hell}))
    html = render("project.html", "host", row.id, row) + render("project.html", "line", row.id, row)
    assert "<script>" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "\\x1b[31m" in html


# What a record, or the history's note, says of a rollout; and what is shown of it.
ROLLOUTS: list[tuple[dict[str, Any], str]] = [
    (
        {"status": "aborted", "step": 0, "why": "step 1 of 1 (50 %): 9 of 9 failed.", "document": {"steps": [0.5]}},
        "aborted, step 1 of 1 (50 %): 9 of 9 failed.",
    ),
    ({"status": "paused", "step": 1, "why": "paused by ann", "steps": 2}, "paused, step 2 of 2: paused by ann"),
    ({"status": "running", "step": 0, "why": "", "steps": 2}, "running, step 1 of 2"),
    (
        {"status": "running", "step": 1, "why": "step 1 of 20 (1 %): fine.", "steps": 20},  # which led to this one
        "running, step 2 of 20: step 1 of 20 (1 %): fine.",
    ),
]


@pytest.mark.parametrize(("told", "shown"), ROLLOUTS)
def test_a_rollout_s_step_is_named_once(told: dict[str, Any], shown: str) -> None:
    assert stands(told) == shown
