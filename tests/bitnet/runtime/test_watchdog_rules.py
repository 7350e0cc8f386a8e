"""What the watchdog concludes from what it sees: tables, without a clock."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitnet.errors import InvalidInput
from bitnet.watchdog import Health, Judge, Patience, RestartPolicy, Restarts, Sample, Verdict

PATIENCE = Patience(load=100, silence=10, stall=30)
LOADING = Sample(Health.LOADING)
SILENT = Sample(Health.SILENT)
UNKNOWN = Sample(Health.READY)


def ready(in_flight: int = 0, steps: float = 0) -> Sample:
    return Sample(Health.READY, in_flight, (steps, 0, 0))


# Each line: what was seen at which second, and what the last look means.
CASES: dict[str, tuple[list[tuple[float, Sample]], Verdict]] = {
    "loading is not dead": ([(0, SILENT), (5, LOADING), (99, LOADING)], Verdict.LOADING),
    "loading for ever is": ([(0, LOADING), (101, LOADING)], Verdict.STUCK_LOADING),
    "never answering while loading is stuck too": ([(0, SILENT), (101, SILENT)], Verdict.STUCK_LOADING),
    "idle for hours is serving": ([(0, ready()), (9000, ready())], Verdict.SERVING),
    "one missed answer is waited for": ([(0, ready()), (9, SILENT)], Verdict.WAITING),
    "silence is silent": ([(0, ready()), (5, SILENT), (11, SILENT)], Verdict.SILENT),
    "an answer in between starts the silence anew": (
        [(0, ready()), (9, SILENT), (10, ready()), (19, SILENT)],
        Verdict.WAITING,
    ),
    "slow is not stalled": ([(0, ready(1, 1)), (29, ready(1, 2)), (58, ready(1, 3))], Verdict.SERVING),
    "no progress with work to do is stalled": ([(0, ready(1, 1)), (31, ready(1, 1))], Verdict.STALLED),
    "work that arrives after a long idle time gets its time": (
        [(0, ready()), (500, ready()), (501, ready(1)), (530, ready(1))],
        Verdict.SERVING,
    ),
    "a queue that only waits is stalled": ([(0, ready(0, 1)), (1, ready(3, 1)), (32, ready(3, 1))], Verdict.STALLED),
    "late metrics are one long step": ([(0, ready(1, 1)), (29, UNKNOWN)], Verdict.WAITING),
    "metrics that never come are a stall": ([(0, ready(1, 1)), (31, UNKNOWN)], Verdict.STALLED),
    "loading again is an answer too": ([(0, ready()), (9, LOADING), (18, SILENT)], Verdict.WAITING),
    "asleep after it was ready is loading": ([(0, ready()), (5, LOADING), (300, LOADING)], Verdict.LOADING),
}


@pytest.mark.parametrize(("seen", "verdict"), CASES.values(), ids=CASES.keys())
def test_verdicts(seen: list[tuple[float, Sample]], verdict: Verdict) -> None:
    judge = Judge(PATIENCE, 0)

    assert [judge.observe(sample, now) for now, sample in seen][-1] is verdict


def test_only_what_a_restart_cures_is_final() -> None:
    final = {verdict for verdict in Verdict if verdict.is_final}

    assert final == {Verdict.STUCK_LOADING, Verdict.SILENT, Verdict.STALLED}


def test_time_without_progress_is_known() -> None:
    judge = Judge(PATIENCE, 0)
    judge.observe(ready(1, 1), 10)
    judge.observe(ready(1, 1), 25)

    assert (judge.idle_seconds(25), judge.in_flight) == (15, 1)


@given(gaps=st.lists(st.floats(0.1, 29), max_size=50))
def test_a_server_that_moves_within_the_patience_is_never_ended(gaps: list[float]) -> None:
    judge, now = Judge(PATIENCE, 0), 0.0
    for steps, gap in enumerate(gaps):
        now += gap
        assert not judge.observe(ready(1, steps), now).is_final


@pytest.mark.parametrize("values", [{"load": 0}, {"silence": -1}, {"stall": 0}])
def test_no_patience_at_all_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Patience(**values)


class TestRestarts:
    def test_waits_double_up_to_the_longest(self) -> None:
        restarts = Restarts(RestartPolicy(limit=6, window=1000, first=1, longest=10))

        assert [restarts.next_wait(now, dice=0) for now in range(6)] == [1, 2, 4, 8, 10, 10]

    def test_the_dice_take_up_to_half_of_a_wait(self) -> None:
        restarts = Restarts(RestartPolicy(first=4))

        assert restarts.next_wait(0, dice=1) == 2

    def test_beyond_the_limit_it_gives_up(self) -> None:
        restarts = Restarts(RestartPolicy(limit=2, window=100))

        assert [restarts.next_wait(now, 0) is None for now in (0, 1, 2)] == [False, False, True]

    def test_restarts_long_ago_are_forgotten(self) -> None:
        restarts = Restarts(RestartPolicy(limit=2, window=100, first=1))
        for now in (0, 1):
            restarts.next_wait(now, 0)

        assert restarts.next_wait(150, 0) == 1

    def test_a_limit_of_zero_never_restarts(self) -> None:
        assert Restarts(RestartPolicy(limit=0)).next_wait(0, 0) is None

    @pytest.mark.parametrize("values", [{"limit": -1}, {"window": 0}, {"first": -1}, {"longest": -1}])
    def test_numbers_that_make_no_sense_are_refused(self, values: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput):
            RestartPolicy(**values)
