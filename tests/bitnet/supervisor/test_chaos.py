"""Five hundred jobs that fail, hang, flood, ignore signals, leave children behind and are cancelled."""

from __future__ import annotations

import asyncio
import gc
import random
import threading

import pytest

from bitnet.breaker import BreakerPolicy
from bitnet.errors import RuntimeFailure
from bitnet.supervisor import BackendPolicy, BackendUse, LaunchResult, RuntimeSupervisor
from tests.bitnet.supervisor.programs import PrintingRuntime, children, open_files

JOBS = 500
WEIGHTS = {"alpha": 3.0, "beta": 2.0, "gamma": 1.0}
POOL = {"gpu": 4.0, "ram": 10.0}


def command(chance: random.Random) -> list[str]:
    """A program of one of many sad kinds; most take about as long as their brothers of other backends."""
    pause = f"sleep {chance.uniform(0.01, 0.05):.3f}"
    return chance.choice(
        [
            *[["sh", "-c", pause]] * 4,
            ["sh", "-c", f"{pause}; exit {chance.randint(1, 9)}"],
            ["sh", "-c", f"{pause}; kill -9 $$"],
            ["sh", "-c", f"head -c 3000000 /dev/zero; {pause}"],
            ["sh", "-c", f"head -c 1000000 /dev/zero >&2; {pause}; exit 1"],
            ["sh", "-c", "sleep 60"],
            ["sh", "-c", "trap '' TERM; while :; do sleep 0.01; done"],
            ["sh", "-c", f"sleep 60 >/dev/null 2>&1 & {pause}"],
            ["no-such-program"],
        ]
    )


async def fall_back(failure: RuntimeFailure) -> str:
    await asyncio.sleep(0.001)
    return failure.what


def options(chance: random.Random) -> dict[str, object]:
    wanted: dict[str, object] = {"timeout": 0.1}
    if chance.random() < 0.2:
        wanted["resources"] = {"gpu": chance.choice([1, 1, 2]), "ram": chance.uniform(0.1, 3)}
    if chance.random() < 0.1:
        wanted["retries"] = 1
    if chance.random() < 0.1:
        wanted["fallback"] = chance.choice([fall_back, ["true"]])
    return wanted


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_left_of_five_hundred_unruly_jobs_and_the_shares_were_kept(seed: int) -> None:
    chance = random.Random(seed)
    await asyncio.create_subprocess_exec("true")  # what asyncio sets up once is not a leak
    await asyncio.sleep(0.1)
    gc.collect()  # what earlier tests left is not closed meanwhile, and counted as if it were this one's
    files, threads = open_files(), threading.active_count()
    supervisor = RuntimeSupervisor(
        PrintingRuntime(),
        concurrency=8,
        resource_limits=POOL,
        backends={
            name: BackendPolicy(weight=weight, breaker=BreakerPolicy(failures=400, cool_down=0.1))
            for name, weight in WEIGHTS.items()
        },
        capture_bytes=10_000,
        grace=0.05,
        backoff=0.01,
    )
    names = [name for name, weight in WEIGHTS.items() for _ in range(round(JOBS * weight / sum(WEIGHTS.values())))]
    chance.shuffle(names)
    tasks = [
        asyncio.ensure_future(supervisor.run_custom(command(chance), backend=name, **options(chance))) for name in names
    ]
    assert len(tasks) == JOBS
    cancelled = chance.sample(tasks, 50)
    for task in cancelled:
        asyncio.get_running_loop().call_later(chance.uniform(0, 3), task.cancel)

    await asyncio.sleep(0)
    use = await _when_one_has_nothing_waiting(supervisor)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    await supervisor.aclose()

    kinds = {type(outcome).__name__ for outcome in outcomes}
    assert {"LaunchResult", "LaunchFailed", "RuntimeTimeoutError", "CancelledError"} == kinds
    assert any(isinstance(outcome, LaunchResult) and outcome.stdout_cut for outcome in outcomes)
    assert any(isinstance(outcome, LaunchResult) and outcome.fallback_used for outcome in outcomes)

    assert children() == []
    assert open_files() <= files
    assert threading.active_count() <= threads
    assert asyncio.all_tasks() == {asyncio.current_task()}
    after = supervisor.snapshot()
    assert (after.running, after.waiting, dict(after.free)) == (0, 0, POOL)
    assert all(backend.running == backend.waiting == 0 for backend in after.backends.values())

    total = sum(backend.slot_seconds for backend in use.values())
    for name, weight in WEIGHTS.items():
        share = use[name].slot_seconds / total
        assert share == pytest.approx(weight / sum(WEIGHTS.values()), rel=0.05), (name, share)


async def _when_one_has_nothing_waiting(supervisor: RuntimeSupervisor) -> dict[str, BackendUse]:
    while True:
        use = supervisor.snapshot().backends
        if not all(use[name].waiting for name in WEIGHTS):
            return dict(use)
        await asyncio.sleep(0.002)
