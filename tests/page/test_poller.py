"""Hosts that are asked once for all, each in its own time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from provision.errors import Unreachable
from provision.page.poller import AT_ONCE, Key, Poller
from tests.faults.hooks import until


@pytest.fixture
def poller() -> Iterator[Poller]:
    made = Poller()
    made.start()
    yield made
    made.stop()


def test_nobody_is_asked_while_nobody_looks(poller: Poller) -> None:
    asked = threading.Event()
    poller.add(Key("standing", "t", "a"), asked.set, 0.1)
    assert not asked.wait(0.5)
    poller.look(["standing"])
    assert asked.wait(2)


def test_a_host_that_hangs_holds_up_none_of_the_others(poller: Poller) -> None:
    """More of them than are asked at a time."""
    hang = threading.Event()
    for number in range(AT_ONCE + 4):
        poller.add(Key("standing", "t", f"hangs-{number}"), hang.wait, 0.1)
    poller.add(Key("standing", "t", "well"), lambda: "fine", 0.1)
    poller.look(["standing"])
    until(lambda: poller.heard(Key("standing", "t", "well")).value == "fine", "the one that is well says so", 15)
    assert poller.heard(Key("standing", "t", "hangs-0")).is_stale(time.time())
    hang.set()


def test_what_a_host_said_last_stays_when_it_is_gone_and_it_is_asked_less_and_less(poller: Poller) -> None:
    times: list[float] = []
    key = Key("standing", "t", "a")

    def ask() -> str:
        times.append(time.monotonic())
        if len(times) > 1:
            raise Unreachable("no answer.")
        return "serving"

    poller.add(key, ask, 0.1)
    poller.look(["standing"])
    until(lambda: len(times) >= 5, "asked five times", 15)
    heard = poller.heard(key)
    assert heard.value == "serving"
    assert isinstance(heard.error, Unreachable)
    assert heard.is_stale(time.time())
    between = [after - before for before, after in pairwise(times[1:])]
    assert between == sorted(between)


def test_a_fault_of_ours_is_told_where_it_shows(poller: Poller) -> None:
    key = Key("standing", "t", "a")
    poller.add(key, lambda: 1 // 0, 0.1)
    poller.look(["standing"])
    until(lambda: poller.heard(key).error is not None, "it failed", 5)
    assert "ZeroDivisionError" in str(poller.heard(key).error)
