from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitnet.errors import InvalidInput, ResourcesImpossible
from bitnet.supervisor.buckets import LOOK_AHEAD, Buckets
from bitnet.supervisor.job import BULKHEAD, Job
from bitnet.supervisor.pool import Pool
from bitnet.supervisor.scheduler import Scheduler
from tests.bitnet.supervisor.simulation import Simulation, Work

GPU = (("gpu", 1.0),)
BOTH = (("gpu", 2.0),)


def shares(seconds: dict[str, float]) -> dict[str, float]:
    return {name: used / sum(seconds.values()) for name, used in seconds.items()}


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="weighted-fair, priority, resource-aware"):
        Scheduler("fifo", 1, {}, {})


# Shares


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 8), st.floats(0.2, 20)), min_size=2, max_size=4),
    st.integers(1, 9),
    st.integers(0, 1000),
)
def test_busy_backends_share_the_time_by_weight_whatever_the_lengths_of_their_jobs(
    backends: list[tuple[int, float]], slots: int, seed: int
) -> None:
    chance = random.Random(seed)
    weights = {name: float(weight) for name, (weight, _) in zip("abcd", backends, strict=False)}
    lengths = {name: length for name, (_, length) in zip("abcd", backends, strict=False)}
    simulation = Simulation("weighted-fair", slots, weights=weights)
    until = 60 * max(lengths.values()) * sum(weights.values()) / min(weights.values())

    def length_of(name: str) -> Callable[[], float]:
        return lambda: chance.uniform(0.1, 1.9) * lengths[name]

    simulation.run_saturated({name: length_of(name) for name in lengths}, until)
    due = {name: weight / sum(weights.values()) for name, weight in weights.items()}
    assert shares(simulation.seconds()) == pytest.approx(due, rel=0.05)


def test_long_jobs_get_no_more_time_than_short_ones() -> None:
    simulation = Simulation("weighted-fair", 4)
    simulation.run([Work("long", 10.0)] * 500 + [Work("short", 0.1)] * 50_000, until=1000)
    assert shares(simulation.seconds()) == pytest.approx({"long": 0.5, "short": 0.5}, abs=0.02)
    assert simulation.started()["short"] > 80 * simulation.started()["long"]


def test_slots_that_become_free_at_one_moment_do_not_all_go_to_one_backend() -> None:
    simulation = Simulation("weighted-fair", 8, weights={"a": 3.0, "b": 1.0})
    simulation.run([Work("a", 5.0)] * 100 + [Work("b", 5.0)] * 100, until=4)
    assert simulation.started() == {"a": 6, "b": 2}


def test_a_backend_that_was_idle_has_earned_nothing() -> None:
    simulation = Simulation("weighted-fair", 2)
    busy = [Work("busy", 1.0)] * 1000
    back = [Work("idle", 1.0)] + [Work("idle", 1.0, at=200.5)] * 300
    simulation.run([*busy, *back], until=200)
    before = simulation.seconds()
    simulation = Simulation("weighted-fair", 2)
    simulation.run([*busy, *back], until=260)
    gained = {name: used - before.get(name, 0.0) for name, used in simulation.seconds().items()}
    assert gained["idle"] == pytest.approx(gained["busy"], abs=4)


def test_a_backend_alone_uses_everything_and_owes_nothing_for_it_later() -> None:
    simulation = Simulation("weighted-fair", 2)
    works = [Work("early", 1.0)] * 1000 + [Work("late", 1.0, at=100)] * 1000
    simulation.run(works, until=160)
    used = simulation.seconds()
    assert used["early"] - 200 == pytest.approx(used["late"], abs=4)


def test_inside_a_backend_the_first_comes_first() -> None:
    names = Simulation("weighted-fair", 1).run([Work("a", name=str(n)) for n in range(20)])
    assert names == [str(n) for n in range(20)]


def test_a_backend_at_its_own_limit_leaves_the_slots_to_others() -> None:
    simulation = Simulation("weighted-fair", 4, limits={BULKHEAD + "slow": 1.0})
    simulation.run([Work("slow", 10.0)] * 50 + [Work("quick", 1.0)] * 500, until=100)
    used = simulation.seconds()
    assert used["slow"] == pytest.approx(100, abs=1)
    assert used["quick"] == pytest.approx(300, abs=4)


def test_a_job_that_waits_for_its_own_backend_keeps_nothing_from_others() -> None:
    works = [Work("slow", 10.0), Work("slow", 1.0, needs=GPU, at=1), Work("quick", 1.0, needs=GPU, at=2, name="quick")]
    for policy in ("weighted-fair", "priority", "resource-aware"):
        simulation = Simulation(policy, 4, limits={"gpu": 1.0, BULKHEAD + "slow": 1.0})
        simulation.run(works)
        assert [at for at, work in simulation.order if work.name == "quick"] == [2]


def test_a_fair_queue_keeps_a_scarce_resource_for_whom_it_is_due() -> None:
    works = [Work("small", 3.0, needs=GPU), Work("big", 1.0, needs=BOTH, name="big")]
    works += [Work("small", 3.0, needs=GPU, at=0.5)] * 20 + [Work("cpu", 1.0, at=0.6, name="cpu")]
    simulation = Simulation("weighted-fair", 4, limits={"gpu": 2.0})
    simulation.run(works)
    starts = {work.name: at for at, work in simulation.order}
    assert starts["cpu"] == 0.6
    assert starts["big"] <= 6.5


# Priorities


@given(st.lists(st.integers(-3, 3), max_size=60))
def test_the_lowest_value_starts_first_and_equals_in_the_order_of_arrival(values: list[int]) -> None:
    works = [Work(priority=value, name=f"{value}/{number:03}") for number, value in enumerate(values)]
    names = Simulation("priority", 1).run(works)
    assert names == [work.name for work in sorted(works, key=lambda work: (work.priority, work.name[-3:]))]


def test_an_urgent_job_that_does_not_fit_is_not_overtaken_by_what_would_take_its_place() -> None:
    works = [
        Work(length=5, needs=GPU, name="first", priority=0),
        Work(length=1, needs=BOTH, name="urgent", priority=1, at=1),
        Work(length=50, needs=GPU, name="overtaker", priority=2, at=1),
        Work(length=1, name="other", priority=3, at=1),
    ]
    simulation = Simulation("priority", 4, limits={"gpu": 2.0})
    assert simulation.run(works) == ["first", "other", "urgent", "overtaker"]


# Resources


def test_small_jobs_pass_a_large_one_that_does_not_fit_yet() -> None:
    works = [Work(length=5, needs=GPU, name="first"), Work(length=1, needs=BOTH, name="large", at=1)]
    works.append(Work(length=1, needs=GPU, name="small", at=2))
    assert Simulation("resource-aware", 4, limits={"gpu": 2.0}).run(works) == ["first", "small", "large"]


def test_small_jobs_do_not_pass_a_large_one_for_ever() -> None:
    small = [Work(length=1.5, needs=GPU, at=n / 2) for n in range(400)]
    simulation = Simulation("resource-aware", 8, limits={"gpu": 2.0})
    simulation.run([*small, Work(length=1, needs=BOTH, name="large", at=10.25)])
    (started,) = (at for at, work in simulation.order if work.name == "large")
    passed_by = sum(1 for at, work in simulation.order if not work.name and work.at > 10.25 and at < started)
    assert passed_by <= 8
    assert started < 60


def test_what_needs_nothing_scarce_goes_on_while_a_large_one_is_waited_for() -> None:
    small = [Work(length=2, needs=GPU, at=n / 2) for n in range(100)]
    large = Work(length=1, needs=BOTH, name="large", at=3.25)
    free = [Work(length=1, at=20.0, name="free")]
    simulation = Simulation("resource-aware", 16, limits={"gpu": 2.0})
    simulation.run([*small, large, *free])
    assert next(at for at, work in simulation.order if work.name == "free") == 20.0


def test_a_large_job_behind_its_backends_limit_is_not_starved_through_both() -> None:
    limits = {"gpu": 2.0, BULKHEAD + "a": 1.0}
    a = [Work("a", length=1, at=n / 2, needs=()) for n in range(200)]
    b = [Work("b", length=1.3, at=n / 3, needs=GPU) for n in range(300)]
    large = Work("a", length=1, needs=BOTH, name="large", at=5.1)
    simulation = Simulation("resource-aware", 8, limits=limits)
    simulation.run([*a, *b, large])
    assert next(at for at, work in simulation.order if work.name == "large") < 60


@settings(max_examples=60)
@given(
    st.sampled_from(["weighted-fair", "priority", "resource-aware"]),
    st.lists(
        st.builds(
            Work,
            backend=st.sampled_from("abc"),
            length=st.floats(0.1, 5),
            at=st.floats(0, 20),
            priority=st.integers(0, 2).map(float),
            needs=st.dictionaries(st.sampled_from(["gpu", "ram"]), st.floats(0.1, 3)).map(
                lambda needs: tuple(needs.items())
            ),
        ),
        max_size=60,
    ),
    st.integers(1, 5),
)
def test_every_job_runs_in_the_end_and_everything_comes_back(policy: str, works: list[Work], slots: int) -> None:
    limits = {"gpu": 3.0, "ram": 3.0, BULKHEAD + "b": 1.0}
    simulation = Simulation(policy, slots, limits=limits)
    simulation.run(works)
    assert len(simulation.order) == len(works)
    assert simulation.scheduler.pool.free == limits
    assert simulation.scheduler.running == simulation.scheduler.waiting == 0


def test_more_than_the_pool_has_is_refused_at_once() -> None:
    pool = Pool({"gpu": 2})
    pool.check({"gpu": 2})
    with pytest.raises(ResourcesImpossible, match="gpu 3 of 2"):
        pool.check({"gpu": 3})
    with pytest.raises(ResourcesImpossible, match="fpga 1 of 0"):
        pool.check({"fpga": 1})


@pytest.mark.parametrize("amount", [0, -1, float("nan"), float("inf")])
def test_an_amount_must_be_a_positive_number(amount: float) -> None:
    with pytest.raises(InvalidInput):
        Pool({"gpu": amount})
    with pytest.raises(InvalidInput):
        Pool({"gpu": 2}).check({"gpu": amount})


def test_shares_that_binary_cannot_write_add_up_all_the_same() -> None:
    scheduler = Scheduler("resource-aware", 100, {"gpu": 1.0}, {})
    for number in range(10):
        scheduler.add(Job(number, "a", needs={"gpu": 0.1}), 0.0)
    assert sum(scheduler.next(0.0) is not None for _ in range(10)) == 10


# The queue itself


@pytest.mark.parametrize("policy", ["weighted-fair", "priority", "resource-aware"])
def test_a_job_that_went_away_never_starts(policy: str) -> None:
    scheduler = Scheduler(policy, 10, {}, {})
    jobs = [Job(number, "ab"[number % 2]) for number in range(6)]
    for job in jobs:
        scheduler.add(job, 0.0)
    for job in (jobs[0], jobs[3], jobs[5]):
        scheduler.discard(job)
    started = [scheduler.next(0.0) for _ in range(4)]
    assert sorted(job.number for job in started if job) == [1, 2, 4]
    assert scheduler.waiting == 0


def test_jobs_that_come_and_go_while_nothing_starts_leave_nothing_behind() -> None:
    buckets = Buckets(bucket_of=lambda job: job.number, rank=lambda job: (0.0, job.number))
    for number in range(50_000):
        job = Job(number, "a")
        buckets.add(job)
        buckets.discard(job)
    assert len(buckets._heap) <= LOOK_AHEAD + 1
    assert not buckets._buckets


@pytest.mark.parametrize("policy", ["weighted-fair", "priority", "resource-aware"])
def test_a_long_queue_costs_no_more_a_job_than_a_short_one(policy: str) -> None:
    def seconds_a_job(count: int) -> float:
        scheduler = Scheduler(policy, 4, {"gpu": 2.0}, {})
        works = [Job(n, "abc"[n % 3], n % 5, GPU_NEEDS if n % 4 == 0 else {}) for n in range(count)]
        started = time.process_time()
        for job in works:
            scheduler.add(job, 0.0)
        done = 0
        while job_or_none := scheduler.next(float(done)):
            scheduler.end(job_or_none, float(done))
            done += 1
        assert done == count
        return (time.process_time() - started) / count

    seconds_a_job(500)
    assert seconds_a_job(40_000) < 5 * min(seconds_a_job(2_000) for _ in range(3))


GPU_NEEDS = {"gpu": 1.0}
