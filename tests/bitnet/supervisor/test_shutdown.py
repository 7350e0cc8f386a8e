from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from bitnet.errors import RuntimeFailure, SupervisorClosed
from bitnet.supervisor import LaunchResult, RuntimeSupervisor
from tests.bitnet.supervisor.programs import PrintingRuntime, Recording, alive, appears, children


def submit(supervisor: RuntimeSupervisor, *command: str, **options: object) -> asyncio.Task[LaunchResult]:
    return asyncio.ensure_future(supervisor.run_custom(list(command), **options))


async def test_leaving_lets_running_and_waiting_jobs_finish(runtime: PrintingRuntime) -> None:
    async with RuntimeSupervisor(runtime, concurrency=1) as supervisor:
        tasks = [submit(supervisor, "sleep", "0.1") for _ in range(3)]
        await asyncio.sleep(0)
    assert all(task.done() for task in tasks)
    assert [task.result().returncode for task in tasks] == [0, 0, 0]


async def test_a_closed_supervisor_takes_no_more(runtime: PrintingRuntime, recording: Recording) -> None:
    supervisor = RuntimeSupervisor(runtime, telemetry=[recording])
    await supervisor.aclose()
    with pytest.raises(SupervisorClosed):
        await supervisor.run_custom(["true"])
    with pytest.raises(SupervisorClosed):
        async for _ in supervisor.stream(["true"]):
            pass
    assert recording.names() == ["supervisor.closing"]


async def test_after_the_drain_what_is_left_is_ended(runtime: PrintingRuntime, tmp_path: Path) -> None:
    supervisor = RuntimeSupervisor(runtime, concurrency=1)
    running = submit(supervisor, "sh", "-c", "echo $$ > $0; exec sleep 60", str(tmp_path / "pid"))
    waiting = submit(supervisor, "true")
    pid = int(await appears(tmp_path / "pid"))
    started = time.monotonic()
    await supervisor.aclose(drain=0.3)
    assert 0.3 <= time.monotonic() - started < 3
    for task in (running, waiting):
        with pytest.raises(SupervisorClosed):
            await task
    assert not alive(pid)
    assert children() == []
    assert (supervisor.snapshot().running, supervisor.snapshot().waiting) == (0, 0)


async def test_an_error_in_the_block_ends_everything_at_once(runtime: PrintingRuntime) -> None:
    started = time.monotonic()
    with pytest.raises(KeyError):
        async with RuntimeSupervisor(runtime) as supervisor:
            task = submit(supervisor, "sleep", "60")
            await asyncio.sleep(0.05)
            raise KeyError("oops")
    assert time.monotonic() - started < 3
    with pytest.raises(SupervisorClosed):
        await task


async def test_pauses_between_retries_and_fallbacks_end_too(runtime: PrintingRuntime) -> None:
    async def endless(failure: RuntimeFailure) -> str:
        await asyncio.sleep(60)
        return ""

    supervisor = RuntimeSupervisor(runtime, backoff=30)
    tasks = [submit(supervisor, "false", retries=1), submit(supervisor, "false", fallback=endless)]
    await asyncio.sleep(0.2)
    await asyncio.wait_for(supervisor.aclose(drain=0), 3)
    for task in tasks:
        with pytest.raises(SupervisorClosed):
            await task


async def test_a_fallback_that_starts_after_the_end_is_ended_too(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime, grace=0.2)
    # It is in its grace after the deadline when all ends, so its fallback begins after that.
    script = "trap '' TERM; while :; do sleep 0.02; done"
    task = submit(supervisor, "sh", "-c", script, timeout=0.2, fallback=["sleep", "60"])
    await asyncio.sleep(0.25)
    await asyncio.wait_for(supervisor.aclose(drain=0.05), 3)
    with pytest.raises(SupervisorClosed):
        await task


async def test_cancelling_the_drain_ends_at_once(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime)
    running = submit(supervisor, "sleep", "60")
    await asyncio.sleep(0.05)
    closing = asyncio.ensure_future(supervisor.aclose(drain=60))
    await asyncio.sleep(0.05)
    closing.cancel()
    with pytest.raises(SupervisorClosed):
        await asyncio.wait_for(running, 3)


async def test_closing_again_with_less_patience_wins(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime)
    running = submit(supervisor, "sleep", "60")
    await asyncio.sleep(0.05)
    patient = asyncio.ensure_future(supervisor.aclose(drain=60))
    await asyncio.sleep(0.05)
    await asyncio.wait_for(supervisor.aclose(drain=0), 3)
    await asyncio.wait_for(patient, 1)
    with pytest.raises(SupervisorClosed):
        await running
