from __future__ import annotations

import pytest

from bitnet.breaker import BreakerPolicy, CircuitBreaker, State
from bitnet.errors import CircuitOpen, InvalidInput


@pytest.fixture
def breaker() -> CircuitBreaker:
    return CircuitBreaker("gpu", BreakerPolicy(failures=3, cool_down=10))


def trip(breaker: CircuitBreaker, now: float = 0.0) -> None:
    for _ in range(3):
        breaker.admit(now)
        breaker.fail(now)


def test_failures_in_a_row_open_it(breaker: CircuitBreaker) -> None:
    opened = []
    for _ in range(3):
        breaker.admit(0)
        opened.append(breaker.fail(0))
    assert opened == [False, False, True]
    with pytest.raises(CircuitOpen) as caught:
        breaker.admit(4)
    assert (caught.value.backend, caught.value.retry_after) == ("gpu", 6)


def test_a_success_in_between_starts_the_count_anew(breaker: CircuitBreaker) -> None:
    for _ in range(10):
        breaker.fail(0)
        breaker.fail(0)
        breaker.succeed()
    breaker.admit(0)


def test_after_the_cool_down_one_launch_is_tried(breaker: CircuitBreaker) -> None:
    trip(breaker)
    breaker.admit(10)
    with pytest.raises(CircuitOpen):
        breaker.admit(10)
    breaker.succeed()
    breaker.admit(10)
    breaker.admit(10)


def test_a_failed_try_opens_it_again_at_once(breaker: CircuitBreaker) -> None:
    trip(breaker)
    breaker.admit(10)
    assert breaker.fail(11)
    with pytest.raises(CircuitOpen) as caught:
        breaker.admit(20)
    assert caught.value.retry_after == pytest.approx(1)
    breaker.admit(21)


def test_a_try_that_told_nothing_lets_the_next_one_try(breaker: CircuitBreaker) -> None:
    trip(breaker)
    breaker.admit(10)
    breaker.forget()
    breaker.admit(10)
    assert breaker.state is State.TRYING


def test_checking_changes_nothing(breaker: CircuitBreaker) -> None:
    breaker.check(0)
    trip(breaker)
    with pytest.raises(CircuitOpen):
        breaker.check(5)
    breaker.check(10)
    assert breaker.state is State.OPEN


def test_late_failures_of_older_launches_do_not_prolong_it(breaker: CircuitBreaker) -> None:
    trip(breaker)
    assert not breaker.fail(9)
    breaker.admit(10)


@pytest.mark.parametrize("values", [{"failures": 0}, {"cool_down": 0}, {"cool_down": -1}])
def test_a_policy_out_of_range_is_refused(values: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        BreakerPolicy(**values)
