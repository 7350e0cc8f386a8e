"""The statistics hold what they promise: looked at again and again, they are wrong no more often than they say."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.agent.analysis.sequential import Evidence, Share, below, excess, longer
from provision.agent.analysis.sketch import GROWTH, LEAST, MOST, Sketch, edge, edge_above, edge_below

RUNS = 300
WRONG = 0.1  # of all runs at most; what is meant by 1 in 100, loose enough to be seen with so few
BAR = -math.log(WRONG)
_LOOKS = [round(8 * 1.25**power) for power in range(25)]  # after how many requests of the canary; 1,694 at last


def drawn(chance: random.Random, share: float, number: int) -> int:
    return sum(chance.random() < share for _ in range(number))


def of_errors(chance: random.Random, canary: float, stable: float, margin: float) -> Iterator[Evidence]:
    ours = theirs = Share(0, 0)
    for look in _LOOKS:
        more = look - ours.total
        ours = Share(ours.had + drawn(chance, canary, more), look)
        theirs = Share(theirs.had + drawn(chance, stable, 3 * more), 3 * look)
        yield excess(ours, theirs, margin)


def of_times(chance: random.Random, longer_by: float, margin: float) -> Iterator[Evidence]:
    ours, theirs = Sketch(), Sketch()
    for look in _LOOKS[:-3]:
        for _ in range(look - ours.total):
            ours.add(longer_by * chance.lognormvariate(-1.0, 0.5))
            theirs.add(chance.lognormvariate(-1.0, 0.5))
        yield longer(ours, theirs, 0.5, lambda seconds: seconds * (1 + margin))


def test_of_canaries_that_fail_exactly_as_often_as_they_may_no_more_are_judged_than_promised():
    chance = random.Random(1)
    ends = [list(of_errors(chance, 0.03, 0.01, 0.02)) for _ in range(RUNS)]

    assert sum(any(each.worse > BAR for each in looks) for looks in ends) <= RUNS * WRONG
    assert sum(any(each.fine > BAR for each in looks) for looks in ends) <= RUNS * WRONG


def test_a_test_for_one_number_of_requests_would_be_wrong_far_more_often():
    """The same canaries and looks, by the difference of two shares and its standard error, at 1 in 10."""
    chance, wrong = random.Random(1), 0
    for _ in range(RUNS):
        ours = theirs = Share(0, 0)
        for look in _LOOKS:
            more = look - ours.total
            ours = Share(ours.had + drawn(chance, 0.03, more), look)
            theirs = Share(theirs.had + drawn(chance, 0.01, 3 * more), 3 * look)
            error = math.sqrt(sum(each.mean * (1 - each.mean) / each.total for each in (ours, theirs)))
            if error and (ours.mean - theirs.mean - 0.02) / error > 1.2816:
                wrong += 1
                break

    assert wrong > 2 * RUNS * WRONG


def test_of_canaries_exactly_as_slow_as_they_may_be_no_more_are_judged_than_promised():
    chance = random.Random(2)
    ends = [list(of_times(chance, 1.25, 0.25)) for _ in range(RUNS // 3)]

    assert sum(any(each.worse > BAR for each in looks) for looks in ends) <= RUNS / 3 * WRONG
    assert sum(any(each.fine > BAR for each in looks) for looks in ends) <= RUNS / 3 * WRONG


@pytest.mark.parametrize(
    ("canary", "stable", "worse"),
    [(0.09, 0.01, True), (0.01, 0.01, False), (0.6, 0.45, True), (0.4, 0.5, False), (0.0, 0.0, False)],
)
def test_what_lies_well_off_the_margin_is_judged(canary, stable, worse):
    *_, last = of_errors(random.Random(3), canary, stable, 0.02)

    assert (last.worse > math.log(20)) == worse
    assert (last.fine > math.log(20)) == (not worse)


@pytest.mark.parametrize(("times", "worse"), [(2.0, True), (1.0, False), (0.5, False)])
def test_a_canary_that_is_twice_as_slow_is_told_from_an_equal_one(times, worse):
    *_, last = of_times(random.Random(4), times, 0.25)

    assert (last.worse > math.log(1000)) == worse
    assert (last.fine > math.log(100)) == (not worse)


def test_nothing_is_said_where_nothing_was_seen():
    empty, some = Sketch(), Sketch({400: 50})

    assert max(excess(Share(0, 0), Share(3, 50), 0.02)) < 1e-9
    assert max(excess(Share(0, 0), Share(0, 0), 0.02)) < 1e-9
    assert max(longer(empty, some, 0.5, lambda seconds: seconds)) < 1e-9
    assert max(longer(some, empty, 0.5, lambda seconds: seconds)) < 1e-9
    assert max(below(empty, 0.95, 2.0)) < 1e-9


def test_no_stable_requests_leave_it_open_whether_a_canary_fails_more_often():
    assert max(excess(Share(30, 60), Share(0, 0), 0.02)) < 1e-9


@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 9000), st.integers(0, 9000), st.floats(0.001, 0.5))
def test_only_one_side_is_ever_spoken_for_and_no_figures_are_too_odd(had, more, theirs, others, margin):
    evidence = excess(Share(had, had + more), Share(theirs, theirs + others), margin)

    assert not any(math.isnan(each) for each in evidence)
    assert min(evidence) < 1e-9


@given(st.lists(st.integers(0, 931), max_size=60), st.lists(st.integers(0, 931), max_size=60))
def test_evidence_on_quantiles_is_what_trying_each_bucket_would_give(ours, theirs):
    """The search stops early on both sides; it must not miss where the figures speak least."""
    canary, stable = Sketch(), Sketch()
    for sketch, buckets in ((canary, ours), (stable, theirs)):
        for bucket in buckets:
            sketch.add(edge(bucket))
    evidence = longer(canary, stable, 0.5, lambda seconds: seconds)

    assert not any(math.isnan(each) for each in evidence)
    assert min(evidence) < 1e-9
    if ours and max(ours) < min(theirs, default=-1):
        assert evidence.worse <= 0
    if theirs and max(theirs) < min(ours, default=-1):
        assert evidence.fine <= 0


def test_a_quantile_against_a_limit():
    quick = Sketch({edge_above(1.0): 990, edge_above(5.0): 10})
    slow = Sketch({edge_above(1.0): 900, edge_above(5.0): 100})

    assert below(quick, 0.95, 2.0).worse > 8
    assert below(slow, 0.95, 2.0).fine > 10
    assert below(slow, 0.5, 2.0).worse > 100


@given(st.floats(0, 1e6))
def test_a_value_lies_in_its_bucket(value):
    above, under = edge_above(value), edge_below(value)

    assert 0 <= under <= above <= edge_above(MOST)
    if LEAST <= value <= MOST:
        assert edge(above) >= value >= edge(under) or under == 0
        assert edge(above) / edge(under) < GROWTH * 1.0001


@given(st.lists(st.floats(0.001, 1000), min_size=1), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_right_to_one_part_in_a_hundred(values, share):
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    exact = sorted(values)[math.ceil(share * len(values)) - 1]

    assert sketch.quantile(share) == pytest.approx(exact, rel=0.0101)
    assert Sketch.from_dict(sketch.as_dict()).counts == sketch.counts
