from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from pathlib import Path

import pytest

from bitnet.breaker import BreakerPolicy
from bitnet.errors import CircuitOpen, InvalidInput, LaunchFailed, RuntimeTimeoutError, SupervisorClosed
from bitnet.supervisor import BackendPolicy, RuntimeSupervisor
from tests.bitnet.supervisor.programs import PrintingRuntime, Recording, alive


async def test_events_come_as_lines_arrive(runtime: PrintingRuntime) -> None:
    supervisor, started = RuntimeSupervisor(runtime), time.monotonic()
    seen = []
    async for event in supervisor.stream(["sh", "-c", "echo a; sleep 0.3; echo b >&2"], metadata={"id": 1}):
        seen.append((event.kind, event.text))
        if event.text == "a":
            assert time.monotonic() - started < 0.25
    assert seen == [("started", ""), ("stdout", "a"), ("stderr", "b"), ("completed", "")]
    assert event.result is not None
    assert (event.result.stdout, event.result.returncode, event.result.metadata) == ("a\n", 0, {"id": 1})
    assert supervisor.snapshot().running == 0


async def test_inference_is_streamed(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime)
    events = [event async for event in supervisor.stream_inference(model="m", prompt="p")]
    assert events[1].text == "m p 16"
    assert events[-1].result is not None
    assert events[-1].result.backend == "inference"


async def test_leaving_early_ends_the_program_and_frees_the_slot(
    runtime: PrintingRuntime, recording: Recording, tmp_path: Path
) -> None:
    supervisor = RuntimeSupervisor(runtime, concurrency=1, telemetry=[recording])
    script = ["sh", "-c", "echo $$; exec sleep 60"]
    async with aclosing(supervisor.stream(script)) as events:
        async for event in events:
            if event.kind == "stdout":
                pid = int(event.text)
                break
    assert not alive(pid)
    assert (await supervisor.run_custom(["true"])).returncode == 0
    assert recording.names()[:2] == ["launch.started", "launch.ended"]


async def test_a_stream_waits_for_its_turn(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime, concurrency=1)
    first = asyncio.ensure_future(supervisor.run_custom(["sleep", "0.3"]))
    await asyncio.sleep(0)
    started = time.monotonic()
    assert (await anext(supervisor.stream(["true"]))).kind == "started"
    assert time.monotonic() - started > 0.2
    await first


async def test_deadlines_statuses_and_breakers_hold_for_streams_too(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(
        runtime, backends={"gpu": BackendPolicy(breaker=BreakerPolicy(failures=1, cool_down=60))}
    )
    with pytest.raises(RuntimeTimeoutError) as caught:
        async for _ in supervisor.stream(["sh", "-c", "echo x; exec sleep 60"], timeout=0.1):
            pass
    assert caught.value.stdout == "x\n"
    with pytest.raises(LaunchFailed, match="status 1"):
        async for _ in supervisor.stream(["false"], check=True):
            pass
    assert [event.kind async for event in supervisor.stream(["false"], backend="gpu")][-1] == "completed"
    with pytest.raises(CircuitOpen):
        await anext(supervisor.stream(["true"], backend="gpu"))
    assert supervisor.snapshot().running == 0


@pytest.mark.parametrize("options", [{"retries": 1}, {"fallback": ["true"]}], ids=str)
async def test_what_would_take_lines_back_is_refused(runtime: PrintingRuntime, options: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="taken back"):
        await anext(RuntimeSupervisor(runtime).stream(["true"], **options))


async def test_shutting_down_ends_a_stream(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime)

    async def read() -> None:
        async for _ in supervisor.stream(["sleep", "60"]):
            pass

    task = asyncio.ensure_future(read())
    await asyncio.sleep(0.1)
    await supervisor.aclose(drain=0)
    with pytest.raises(SupervisorClosed):
        await task
