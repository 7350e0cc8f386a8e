from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bitnet.breaker import BreakerPolicy
from bitnet.errors import (
    CircuitOpen,
    InvalidInput,
    LaunchFailed,
    QueueFull,
    ResourcesImpossible,
    RuntimeFailure,
    RuntimeTimeoutError,
)
from bitnet.supervisor import BackendPolicy, LaunchResult, RuntimeSupervisor
from bitnet.telemetry import Event
from tests.bitnet.supervisor.programs import PrintingRuntime, Recording, alive, appears, children


async def until(condition: object, supervisor: RuntimeSupervisor, within: float = 5.0) -> None:
    """Wait until the numbers of running and waiting jobs are these."""
    deadline = time.monotonic() + within
    while (supervisor.snapshot().running, supervisor.snapshot().waiting) != condition:
        assert time.monotonic() < deadline, supervisor.snapshot()
        await asyncio.sleep(0.005)


def held(supervisor: RuntimeSupervisor, **options: object) -> asyncio.Task[LaunchResult]:
    return asyncio.ensure_future(supervisor.run_custom(["sleep", "60"], **options))


async def test_inference_runs_what_the_runtime_builds(runtime: PrintingRuntime) -> None:
    async with RuntimeSupervisor(runtime, concurrency=runtime.cpu_count) as supervisor:
        result = await supervisor.run_inference(
            model="m.gguf", prompt="a b", n_predict=4, timeout=30, metadata={"id": 7}
        )
    assert result.stdout == "m.gguf a b 4\n"
    assert result.command[0] == sys.executable
    assert (result.backend, result.attempts, result.fallback_used) == ("inference", 1, False)
    assert result.metadata == {"id": 7}
    assert result.started_at <= result.completed_at
    assert result.as_dict()["command"] == list(result.command)


async def test_a_server_runs_until_its_caller_goes_away(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime)
    with pytest.raises(RuntimeTimeoutError) as caught:
        await supervisor.run_server(model="m.gguf", timeout=0.3)
    assert caught.value.stdout == "ready\n"
    assert supervisor.snapshot().backends["server"].running == 0


async def test_what_the_runtime_refuses_reaches_the_caller_and_takes_no_slot(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime)
    with pytest.raises(InvalidInput, match="prompt is empty"):
        await supervisor.run_inference(model="m.gguf", prompt="")
    assert supervisor.snapshot().running == 0


async def test_programs_get_our_environment_the_runtimes_and_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "1")
    supervisor = RuntimeSupervisor(PrintingRuntime({"RUNTIMES": "2", "BOTH": "runtime"}))
    result = await supervisor.run_custom(["sh", "-c", "echo $OURS $RUNTIMES $BOTH"], env={"BOTH": "job"})
    assert result.stdout == "1 2 job\n"


async def test_as_many_run_as_the_runtime_has_cpus_and_no_more(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime)
    tasks = [held(supervisor) for _ in range(5)]
    await until((2, 3), supervisor)
    assert len([child for child in children() if child.name() == "sleep"]) == 2
    await supervisor.aclose(drain=0)
    await asyncio.wait(tasks)


async def test_a_job_starts_only_when_it_is_chosen(runtime: PrintingRuntime, tmp_path: Path) -> None:
    supervisor = RuntimeSupervisor(runtime, concurrency=1, scheduling_policy="priority")
    first = held(supervisor)
    await until((1, 0), supervisor)
    log = tmp_path / "log"
    tasks = [
        asyncio.ensure_future(supervisor.run_custom(["sh", "-c", f"echo {value} >> {log}"], priority=value))
        for value in (3, 1, 2, 1)
    ]
    await until((1, 4), supervisor)
    first.cancel()
    await asyncio.gather(*tasks)
    assert log.read_text().split() == ["1", "1", "2", "3"]


async def test_declared_resources_are_waited_for(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(
        runtime, concurrency=8, scheduling_policy="resource-aware", resource_limits={"gpu": 2}
    )
    holders = [held(supervisor, resources={"gpu": 1}) for _ in range(2)]
    waiting = asyncio.ensure_future(
        supervisor.run_inference(model="m", prompt="x", resources={"gpu": 1})  # waits for a slot
    )
    await until((2, 1), supervisor)
    assert supervisor.snapshot().free == {"gpu": 0}
    assert (await supervisor.run_custom(["true"])).returncode == 0
    holders[0].cancel()
    assert (await waiting).stdout == "m x 16\n"
    holders[1].cancel()
    await asyncio.wait(holders)
    assert supervisor.snapshot().free == {"gpu": 2}


async def test_a_backend_never_has_more_running_than_its_limit(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime, concurrency=4, backends={"gpu": BackendPolicy(limit=1)})
    tasks = [held(supervisor, backend="gpu") for _ in range(3)]
    await until((1, 2), supervisor)
    assert (await supervisor.run_custom(["true"], backend="cpu")).returncode == 0
    await supervisor.aclose(drain=0)
    await asyncio.wait(tasks)


async def test_a_full_queue_turns_the_next_one_away(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime, concurrency=1, max_queue=2)
    tasks = [held(supervisor) for _ in range(3)]
    await until((1, 2), supervisor)
    with pytest.raises(QueueFull) as caught:
        await supervisor.run_custom(["true"])
    assert caught.value.limit == 2
    assert supervisor.snapshot().waiting == 2
    tasks[1].cancel()
    await until((1, 1), supervisor)
    tasks.append(held(supervisor))
    await until((1, 2), supervisor)
    await supervisor.aclose(drain=0)
    await asyncio.wait(tasks)


async def test_with_no_queue_at_all_a_free_slot_is_still_used(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime, concurrency=1, max_queue=0)
    assert (await supervisor.run_custom(["true"])).returncode == 0


async def test_cancelling_a_waiting_job_takes_it_out_of_the_queue(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime, concurrency=8, scheduling_policy="priority", resource_limits={"gpu": 2})
    holder = held(supervisor, resources={"gpu": 1})
    large = held(supervisor, resources={"gpu": 2}, priority=1)
    small = asyncio.ensure_future(supervisor.run_custom(["true"], resources={"gpu": 1}, priority=2))
    await until((1, 2), supervisor)
    large.cancel()
    # The place that was kept for the large one is the small one's now, with nothing else having ended.
    assert (await asyncio.wait_for(small, 5)).returncode == 0
    holder.cancel()
    await asyncio.wait([holder, large])
    assert supervisor.snapshot().free == {"gpu": 2}


async def test_a_job_cancelled_in_the_moment_it_is_chosen_gives_its_slot_on(runtime: PrintingRuntime) -> None:
    loop = asyncio.get_running_loop()

    def cancel_the_second_before_it_wakes_up(event: Event) -> None:
        if event.name == "launch.finished" and not second.done():
            loop.call_soon(second.cancel)

    supervisor = RuntimeSupervisor(runtime, concurrency=1, telemetry=[cancel_the_second_before_it_wakes_up])
    first = asyncio.ensure_future(supervisor.run_custom(["true"]))
    await asyncio.sleep(0)
    second = held(supervisor)
    third = asyncio.ensure_future(supervisor.run_custom(["true"]))
    assert (await asyncio.wait_for(third, 5)).returncode == 0
    await asyncio.wait([first, second])
    assert second.cancelled()
    assert supervisor.snapshot().running == 0
    assert "sleep" not in [child.name() for child in children()]


async def test_cancelling_a_running_job_ends_its_program(runtime: PrintingRuntime, tmp_path: Path) -> None:
    supervisor = RuntimeSupervisor(runtime)
    script = ["sh", "-c", "echo $$ > $0; exec sleep 60", str(tmp_path / "pid")]
    task = asyncio.ensure_future(supervisor.run_custom(script))
    pid = int(await appears(tmp_path / "pid"))
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not alive(pid)
    assert supervisor.snapshot().running == 0


async def test_a_timeout_keeps_the_output_and_frees_the_slot(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime, concurrency=1)
    with pytest.raises(RuntimeTimeoutError) as caught:
        await supervisor.run_custom(["sh", "-c", "echo partial; exec sleep 60"], timeout=0.2)
    assert caught.value.stdout == "partial\n"
    assert (await supervisor.run_custom(["true"])).returncode == 0


async def test_the_time_in_the_queue_does_not_count_against_the_deadline(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime, concurrency=1)
    first = asyncio.ensure_future(supervisor.run_custom(["sleep", "0.5"]))
    await asyncio.sleep(0)
    assert (await supervisor.run_custom(["true"], timeout=0.3)).returncode == 0
    await first


async def test_a_status_is_a_result_unless_it_is_checked(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime)
    failing = ["sh", "-c", "echo o; echo reason >&2; exit 3"]
    assert (await supervisor.run_custom(failing)).returncode == 3
    with pytest.raises(LaunchFailed, match="status 3\nreason") as caught:
        await supervisor.run_custom(failing, check=True)
    assert (caught.value.returncode, caught.value.stdout) == (3, "o\n")
    with pytest.raises(LaunchFailed, match="signal 9"):
        await supervisor.run_custom(["sh", "-c", "kill -9 $$"], check=True)


async def test_a_failing_backend_is_left_alone_and_the_others_are_not(
    runtime: PrintingRuntime, recording: Recording
) -> None:
    supervisor = RuntimeSupervisor(
        runtime,
        backends={"gpu": BackendPolicy(breaker=BreakerPolicy(failures=2, cool_down=0.4))},
        telemetry=[recording],
    )
    for _ in range(2):
        await supervisor.run_custom(["false"], backend="gpu")
    with pytest.raises(CircuitOpen):
        await supervisor.run_custom(["true"], backend="gpu")
    assert (await supervisor.run_custom(["true"], backend="cpu")).returncode == 0
    assert recording.only("breaker.opened")["backend"] == "gpu"
    await asyncio.sleep(0.45)
    assert (await supervisor.run_custom(["true"], backend="gpu")).returncode == 0
    assert (await supervisor.run_custom(["true"], backend="gpu")).returncode == 0


async def test_jobs_that_wait_when_the_breaker_opens_are_not_launched(
    runtime: PrintingRuntime, recording: Recording
) -> None:
    supervisor = RuntimeSupervisor(
        runtime,
        concurrency=1,
        backends={"gpu": BackendPolicy(breaker=BreakerPolicy(failures=1, cool_down=60))},
        telemetry=[recording],
    )
    jobs = [supervisor.run_custom(["false"], backend="gpu") for _ in range(5)]
    first, *others = await asyncio.gather(*jobs, return_exceptions=True)
    assert isinstance(first, LaunchResult)
    assert all(isinstance(other, CircuitOpen) for other in others)
    assert recording.names().count("launch.started") == 1
    assert supervisor.snapshot().running == 0


async def test_a_cancelled_try_does_not_leave_the_breaker_waiting_for_it(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(
        runtime, backends={"gpu": BackendPolicy(breaker=BreakerPolicy(failures=1, cool_down=0.1))}
    )
    await supervisor.run_custom(["false"], backend="gpu")
    await asyncio.sleep(0.15)
    attempt = held(supervisor, backend="gpu")
    await until((1, 0), supervisor)
    attempt.cancel()
    await asyncio.wait([attempt])
    assert (await supervisor.run_custom(["true"], backend="gpu")).returncode == 0


async def test_more_than_the_pool_is_refused_at_once_even_when_all_is_busy(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime, concurrency=1, resource_limits={"gpu": 2})
    holder = held(supervisor)
    await until((1, 0), supervisor)
    with pytest.raises(ResourcesImpossible):
        await asyncio.wait_for(supervisor.run_custom(["true"], resources={"gpu": 3}), 1)
    holder.cancel()
    await asyncio.wait([holder])


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": float("nan")},
        {"priority": float("nan")},
        {"retries": -1},
        {"resources": {"gpu": -1}},
        {"resources": {"backend:gpu": 1}},
        {"fallback": "echo hi"},
    ],
    ids=str,
)
async def test_options_out_of_range_are_refused(runtime: PrintingRuntime, options: dict[str, object]) -> None:
    supervisor = RuntimeSupervisor(runtime, resource_limits={"gpu": 2}, backends={"gpu": BackendPolicy(limit=1)})
    with pytest.raises(InvalidInput):
        await supervisor.run_custom(["true"], **options)
    assert supervisor.snapshot().running == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"concurrency": 0},
        {"max_queue": -1},
        {"grace": -1},
        {"drain": float("inf")},
        {"backoff": -1},
        {"resource_limits": {"gpu": 0}},
        {"scheduling_policy": "random"},
    ],
    ids=str,
)
def test_a_supervisor_out_of_range_is_refused(runtime: PrintingRuntime, arguments: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        RuntimeSupervisor(runtime, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [{"weight": 0}, {"weight": float("inf")}, {"limit": 0}], ids=str)
def test_a_backend_policy_out_of_range_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        BackendPolicy(**values)  # type: ignore[arg-type]


async def test_plain_weights_share_the_time_as_policies_do(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(
        runtime, backend_weights={"a": 3, "inference": 2}, backends={"b": BackendPolicy(weight=1, limit=4)}
    )

    assert {name: policy.weight for name, policy in supervisor.backends.items()} == {
        "a": 3,
        "b": 1,
        "inference": 2,
        "server": 1,
        "custom": 1,
    }
    assert supervisor.backends["inference"].breaker, "a weight takes no breaker away"


@pytest.mark.parametrize(
    "arguments",
    [{"backend_weights": {"a": 0}}, {"backend_weights": {"a": 3}, "backends": {"a": BackendPolicy()}}],
    ids=["no share", "said twice"],
)
def test_a_weight_that_cannot_be_meant_is_refused(runtime: PrintingRuntime, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="weight"):
        RuntimeSupervisor(runtime, **arguments)


async def test_an_option_that_does_not_exist_is_an_error(runtime: PrintingRuntime) -> None:
    with pytest.raises(TypeError, match="timeuot"):
        await RuntimeSupervisor(runtime).run_custom(["true"], timeuot=3)


async def test_events_tell_the_story_without_the_arguments(runtime: PrintingRuntime, recording: Recording) -> None:
    supervisor = RuntimeSupervisor(runtime, telemetry=[recording])
    await supervisor.run_inference(model="m", prompt="secret", metadata={"request": "r1"})
    await supervisor.run_custom(["false"])
    with pytest.raises(RuntimeFailure):
        await supervisor.run_custom(["no-such-program"])
    with pytest.raises(RuntimeTimeoutError):
        await supervisor.run_custom(["sleep", "60"], timeout=0.05)
    task = held(supervisor)
    await until((1, 0), supervisor)
    task.cancel()
    await asyncio.wait([task])
    assert recording.names() == [
        *("launch.started", "launch.finished"),
        *("launch.started", "launch.finished"),
        *("launch.started", "launch.failed"),
        *("launch.started", "launch.failed"),
        *("launch.started", "launch.ended"),
    ]
    first, second = recording.events[:2]
    assert first.fields["request"] == second.fields["request"] == "r1"
    assert first.fields["job"] == second.fields["job"]
    assert second.fields["returncode"] == 0
    assert not any("secret" in str(event.fields) for event in recording.events)


async def test_shares_show_in_the_snapshot(runtime: PrintingRuntime) -> None:
    supervisor = RuntimeSupervisor(runtime, concurrency=4)
    await asyncio.gather(*(supervisor.run_custom(["sleep", "0.2"], backend="a") for _ in range(3)))
    task = held(supervisor, backend="b")
    await asyncio.sleep(0.2)
    snapshot = supervisor.snapshot()
    assert snapshot.backends["a"].slot_seconds == pytest.approx(0.6, abs=0.3)
    assert (snapshot.backends["b"].running, snapshot.running) == (1, 1)
    assert snapshot.backends["b"].slot_seconds > 0.1
    task.cancel()
    await asyncio.wait([task])
