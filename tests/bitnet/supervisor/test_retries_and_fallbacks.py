from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from bitnet.breaker import BreakerPolicy
from bitnet.errors import CircuitOpen, InvalidInput, LaunchFailed, RuntimeFailure, RuntimeTimeoutError
from bitnet.supervisor import BackendPolicy, LaunchResult, RuntimeSupervisor
from tests.bitnet.supervisor.programs import PrintingRuntime, Recording


@pytest.fixture
def supervisor(runtime: PrintingRuntime, recording: Recording) -> RuntimeSupervisor:
    return RuntimeSupervisor(runtime, concurrency=1, backoff=0.02, telemetry=[recording])


def failing_until(attempt: int, counter: Path) -> list[str]:
    return ["sh", "-c", f"echo x >> {counter}; n=$(wc -l < {counter}); echo try $n; [ $n -ge {attempt} ]"]


async def test_a_failed_attempt_is_tried_again(
    supervisor: RuntimeSupervisor, recording: Recording, tmp_path: Path
) -> None:
    result = await supervisor.run_custom(failing_until(3, tmp_path / "n"), retries=5)
    assert (result.returncode, result.stdout.split(), result.attempts) == (0, ["try", "3"], 3)
    assert recording.names().count("launch.retrying") == 2


async def test_after_the_last_retry_the_last_result_counts(supervisor: RuntimeSupervisor, tmp_path: Path) -> None:
    result = await supervisor.run_custom(failing_until(9, tmp_path / "n"), retries=2)
    assert (result.returncode, result.attempts) == (1, 3)
    with pytest.raises(LaunchFailed):
        await supervisor.run_custom(failing_until(99, tmp_path / "n"), retries=1, check=True)


async def test_timeouts_are_retried_and_the_last_one_raised(
    supervisor: RuntimeSupervisor, recording: Recording
) -> None:
    with pytest.raises(RuntimeTimeoutError):
        await supervisor.run_custom(["sleep", "60"], timeout=0.05, retries=2)
    assert recording.names().count("launch.started") == 3


async def test_pauses_grow_up_to_a_limit(runtime: PrintingRuntime, recording: Recording) -> None:
    supervisor = RuntimeSupervisor(runtime, backoff=0.02, backoff_limit=0.05, telemetry=[recording])
    await supervisor.run_custom(["false"], retries=4)
    pauses = [event.fields["pause"] for event in recording.events if event.name == "launch.retrying"]
    for pause, least in zip(pauses, [0.02, 0.04, 0.05, 0.05], strict=True):
        assert least <= pause <= 2 * least  # type: ignore[operator]


async def test_what_is_missing_is_not_tried_again(supervisor: RuntimeSupervisor, recording: Recording) -> None:
    with pytest.raises(LaunchFailed):
        await supervisor.run_custom(["no-such-program"], retries=5)
    assert recording.names().count("launch.started") == 1


async def test_a_pausing_job_holds_no_slot(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime, concurrency=1, backoff=0.5)
    retried = asyncio.ensure_future(supervisor.run_custom(["false"], retries=1))
    await asyncio.sleep(0.1)
    started = time.monotonic()
    await supervisor.run_custom(["true"])
    assert time.monotonic() - started < 0.3
    await retried


async def test_a_retry_is_not_turned_away_by_a_full_queue(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime, concurrency=1, max_queue=1, backoff=1.0)
    retried = asyncio.ensure_future(supervisor.run_custom(["false"], retries=1))
    await asyncio.sleep(0.5)  # the first attempt is over, and the next not yet due
    others = [asyncio.ensure_future(supervisor.run_custom(["sleep", "1"])) for _ in range(2)]
    assert (await retried).attempts == 2
    await asyncio.gather(*others)


async def test_a_fallback_command_runs_when_all_attempts_failed(
    supervisor: RuntimeSupervisor, recording: Recording
) -> None:
    result = await supervisor.run_custom(["false"], retries=1, fallback=["echo", "instead"])
    assert (result.stdout, result.fallback_used, result.attempts) == ("instead\n", True, 3)
    assert result.command == ("echo", "instead")
    assert "launch.fallback" in recording.names()


async def test_no_fallback_runs_where_none_is_needed(supervisor: RuntimeSupervisor) -> None:
    result = await supervisor.run_custom(["echo", "fine"], fallback=["echo", "instead"])
    assert (result.stdout, result.fallback_used) == ("fine\n", False)


@pytest.mark.parametrize(
    ("command", "options", "kind"),
    [
        (["false"], {}, LaunchFailed),
        (["no-such-program"], {}, LaunchFailed),
        (["sleep", "60"], {"timeout": 0.05}, RuntimeTimeoutError),
    ],
    ids=["status", "missing", "timeout"],
)
async def test_a_fallback_coroutine_is_told_why(
    supervisor: RuntimeSupervisor, command: list[str], options: dict[str, float], kind: type[RuntimeFailure]
) -> None:
    told: list[RuntimeFailure] = []

    async def instead(failure: RuntimeFailure) -> str:
        told.append(failure)
        return "made up"

    result = await supervisor.run_custom(command, fallback=instead, metadata={"id": 1}, **options)
    assert isinstance(told[0], kind)
    assert (result.stdout, result.fallback_used, result.attempts, result.command) == ("made up", True, 1, ())
    assert result.metadata == {"id": 1}


async def test_a_fallback_coroutine_may_use_the_same_supervisor(supervisor: RuntimeSupervisor) -> None:
    async def instead(failure: RuntimeFailure) -> LaunchResult:
        return await supervisor.run_custom(["echo", "other way"])

    result = await asyncio.wait_for(supervisor.run_custom(["false"], fallback=instead), 5)
    assert (result.stdout, result.fallback_used) == ("other way\n", True)


async def test_a_fallback_that_could_not_be_used_is_refused_before_anything_runs(
    supervisor: RuntimeSupervisor, recording: Recording
) -> None:
    async def instead() -> str:
        return "made up"

    called = instead()
    for unusable in ("echo instead", called):
        with pytest.raises(InvalidInput, match="a list of strings or a coroutine function"):
            await supervisor.run_custom(["false"], fallback=unusable)
    called.close()
    assert recording.names() == []


async def test_what_a_fallback_raises_reaches_the_caller(supervisor: RuntimeSupervisor) -> None:
    async def instead(failure: RuntimeFailure) -> str:
        raise KeyError("no answer either")

    with pytest.raises(KeyError):
        await supervisor.run_custom(["false"], fallback=instead)
    assert supervisor.snapshot().running == 0


async def test_a_failing_fallback_is_a_result_unless_checked(supervisor: RuntimeSupervisor) -> None:
    result = await supervisor.run_custom(["false"], fallback=["sh", "-c", "exit 7"])
    assert (result.returncode, result.fallback_used) == (7, True)
    with pytest.raises(LaunchFailed, match="status 7"):
        await supervisor.run_custom(["false"], fallback=["sh", "-c", "exit 7"], check=True)


async def test_an_open_breaker_leads_to_the_fallback_and_does_not_stop_it(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(
        runtime, backends={"gpu": BackendPolicy(breaker=BreakerPolicy(failures=1, cool_down=60))}
    )
    await supervisor.run_custom(["false"], backend="gpu")
    result = await supervisor.run_custom(["true"], backend="gpu", fallback=["echo", "cpu"])
    assert (result.stdout, result.attempts) == ("cpu\n", 1)
    with pytest.raises(CircuitOpen):
        await supervisor.run_custom(["true"], backend="gpu")


async def test_cancelling_during_a_fallback_cancels_it(supervisor: RuntimeSupervisor) -> None:
    cancelled = asyncio.Event()

    async def instead(failure: RuntimeFailure) -> str:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()
        return ""

    task = asyncio.ensure_future(supervisor.run_custom(["false"], fallback=instead))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()
    assert cancelled.is_set()
