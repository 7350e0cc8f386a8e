"""What the supervisor costs: launches per second of `true`, and jobs that wait.

    python -m benchmarks.supervisor            # a minute or two
    python -m benchmarks.supervisor --quick

Each row compares the supervisor (default policy, output captured, deadline armed) with the least that anybody could
write: `asyncio.create_subprocess_exec` behind a semaphore of the same limit, without output and without deadline; and
with the same loop when it also captures output. Rounds of the three alternate, so that a busy machine slows all of
them; the best round counts. "by CPU" is the same ratio in CPU time a launch, which a busy machine leaves alone.

Jobs that wait are compared with the same number of bare tasks that wait for a semaphore: Python's garbage collector
walks whatever waits, whoever made it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

from bitnet.supervisor import RuntimeSupervisor

GOAL = 0.9
CONCURRENCIES = (1, 8, 64)
QUEUES = (2_500, 5_000, 10_000, 20_000)


class Runtime:
    """A runtime whose models are never asked for."""

    cpu_count = os.cpu_count() or 1
    environment: dict[str, str] = {}  # noqa: RUF012 - never changed

    def run_inference(self, **_: Any) -> list[str]:
        return ["true"]

    run_server = run_inference


async def bare(count: int, limit: int) -> None:
    semaphore = asyncio.Semaphore(limit)

    async def one() -> None:
        async with semaphore:
            process = await asyncio.create_subprocess_exec("true")
            await process.wait()

    await asyncio.gather(*(one() for _ in range(count)))


async def bare_captured(count: int, limit: int) -> None:
    semaphore = asyncio.Semaphore(limit)

    async def one() -> None:
        async with semaphore:
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec("true", stdout=pipe, stderr=pipe)
            await process.communicate()

    await asyncio.gather(*(one() for _ in range(count)))


async def supervised(count: int, limit: int) -> None:
    async with RuntimeSupervisor(Runtime(), concurrency=limit) as supervisor:
        await asyncio.gather(*(supervisor.run_custom(["true"], timeout=60) for _ in range(count)))


def rate(launch: Callable[[int, int], Awaitable[None]], count: int, limit: int) -> tuple[float, float]:
    """Launches per second, and microseconds of CPU that each took, its program's included."""

    async def timed() -> tuple[float, float]:
        started, before = time.perf_counter(), os.times()
        await launch(count, limit)
        seconds, after = time.perf_counter() - started, os.times()
        return count / seconds, 1e6 * (sum(after[:4]) - sum(before[:4])) / count

    return asyncio.run(timed())


def throughput(count: int, rounds: int) -> list[dict[str, float]]:
    rows = []
    for limit in CONCURRENCIES:
        best = {"bare": 0.0, "captured": 0.0, "supervised": 0.0}
        cpu = dict.fromkeys(best, float("inf"))
        for _ in range(rounds):
            for name, launch in (("bare", bare), ("captured", bare_captured), ("supervised", supervised)):
                per_second, microseconds = rate(launch, count, limit)
                best[name] = max(best[name], per_second)
                cpu[name] = min(cpu[name], microseconds)
        rows.append(
            {
                "concurrency": limit,
                **best,
                "ratio": best["supervised"] / best["bare"],
                "cpu_ratio": cpu["bare"] / cpu["supervised"],
            }
        )
    return rows


async def _waiting(count: int, policy: str, *, memory: bool) -> tuple[float, float]:
    """Microseconds to queue and cancel one job behind a full slot, and bytes that a waiting one takes."""
    supervisor = RuntimeSupervisor(Runtime(), concurrency=1, scheduling_policy=policy)
    holder = asyncio.ensure_future(supervisor.run_custom(["sleep", "600"]))
    await asyncio.sleep(0.05)
    gc.collect()
    if memory:
        tracemalloc.start()
    started = time.process_time()
    jobs = [
        asyncio.ensure_future(supervisor.run_custom(["true"], backend=f"b{n % 3}", priority=n % 10))
        for n in range(count)
    ]
    while supervisor.snapshot().waiting < count:
        await asyncio.sleep(0)
    bytes_a_job = tracemalloc.get_traced_memory()[0] / count if memory else 0.0
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    seconds = time.process_time() - started
    if memory:
        tracemalloc.stop()
    holder.cancel()
    await asyncio.wait([holder])
    return 1e6 * seconds / count, bytes_a_job


async def _waiting_bare(count: int) -> float:
    """Microseconds to let one bare task wait for a semaphore, and cancel it."""
    semaphore = asyncio.Semaphore(1)
    await semaphore.acquire()

    async def one() -> None:
        async with semaphore:
            await bare(1, 1)

    gc.collect()
    started = time.process_time()
    jobs = [asyncio.ensure_future(one()) for _ in range(count)]
    await asyncio.sleep(0)
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    return 1e6 * (time.process_time() - started) / count


def queue_bare() -> list[dict[str, float | str]]:
    return [
        {"policy": "bare semaphore", "waiting": count, "us_a_job": min(asyncio.run(_waiting_bare(count)) for _ in "ab")}
        for count in QUEUES
    ]


def queue(policy: str) -> list[dict[str, float | str]]:
    rows: list[dict[str, float | str]] = []
    for count in QUEUES:
        microseconds = min(asyncio.run(_waiting(count, policy, memory=False))[0] for _ in range(2))
        bytes_a_job = asyncio.run(_waiting(count, policy, memory=True))[1]
        rows.append({"policy": policy, "waiting": count, "us_a_job": microseconds, "bytes_a_job": bytes_a_job})
    return rows


def drained(count: int) -> float:
    """Launches per second when all of `count` jobs are queued at the start, at concurrency 8."""
    return rate(supervised, count, 8)[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer launches and rounds")
    parser.add_argument("--json", action="store_true", help="one object instead of tables")
    arguments = parser.parse_args()
    launches, rounds = (200, 4) if arguments.quick else (500, 12)

    rows = throughput(launches, rounds)
    queues = queue_bare() + [row for policy in ("weighted-fair", "priority", "resource-aware") for row in queue(policy)]
    backlog = {count: drained(count) for count in ((500, 2_000) if arguments.quick else (1_000, 20_000))}
    where = {"python": platform.python_version(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]}
    if arguments.json:
        print(json.dumps({"where": where, "throughput": rows, "queue": queues, "backlog": backlog}))
    else:
        print(f"Python {where['python']}, {where['cpus']} CPUs, load {where['load']:.1f}\n")
        print("launches of `true` per second, best of", rounds)
        print(f"{'concurrency':>12} {'bare':>8} {'captured':>9} {'supervised':>11} {'of bare':>8} {'by CPU':>7}")
        for row in rows:
            print(
                f"{row['concurrency']:>12.0f} {row['bare']:>8.0f} {row['captured']:>9.0f} "
                f"{row['supervised']:>11.0f} {row['ratio']:>8.2f} {row['cpu_ratio']:>7.2f}"
            )
        print("\njobs that wait and are cancelled")
        print(f"{'policy':>16} {'waiting':>8} {'µs a job':>9} {'bytes a job':>12}")
        for entry in queues:
            print(
                f"{entry['policy']:>16} {entry['waiting']:>8} {entry['us_a_job']:>9.1f} "
                f"{f'{bytes_a_job:.0f}' if (bytes_a_job := entry.get('bytes_a_job')) else '-':>12}"
            )
        print("\nlaunches per second with everything queued at the start, concurrency 8")
        for count, per_second in backlog.items():
            print(f"{count:>12} jobs {per_second:>8.0f}")
    return 0 if all(row["ratio"] >= GOAL for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
