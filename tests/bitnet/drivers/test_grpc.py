from __future__ import annotations

import asyncio
import signal
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bitnet.breaker import BreakerPolicy
from bitnet.drivers import ANY_COMMAND, GRPCSupervisorClient, GRPCSupervisorDriver
from bitnet.errors import (
    CircuitOpen,
    DriverFailure,
    InvalidInput,
    LaunchFailed,
    QueueFull,
    ResourcesImpossible,
    RuntimeFailure,
    RuntimeTimeoutError,
    SupervisorClosed,
)
from bitnet.proto import supervisor_pb2 as pb
from bitnet.supervisor import BackendPolicy, RuntimeSupervisor
from tests.bitnet.drivers.calls import raw, stub
from tests.bitnet.supervisor.programs import PrintingRuntime, appears, gone


async def test_a_task_runs_there_and_its_result_comes_back_whole(client: GRPCSupervisorClient) -> None:
    result = await client.submit_task(
        ["sh", "-c", "echo out ü; echo err >&2; exit 3"],
        {"timeout": 5, "metadata": {"id": 7}, "backend": "custom", "resources": {"gpu": 1}, "priority": 2},
    )
    assert (result.stdout, result.stderr, result.returncode) == ("out ü\n", "err\n", 3)
    assert result.metadata == {"id": "7"}
    assert result.command[0] == "sh"
    assert (result.backend, result.attempts, result.fallback_used) == ("custom", 1, False)
    assert result.completed_at - result.started_at == pytest.approx(result.duration, abs=1e-3)


async def test_a_models_answer_comes_back_without_naming_a_command(supervisor: RuntimeSupervisor) -> None:
    async with (
        GRPCSupervisorDriver(supervisor, port=0, allowed_commands=()) as driver,
        GRPCSupervisorClient(f"127.0.0.1:{driver.port}") as client,
    ):
        result = await client.submit_inference(model="m.gguf", prompt="a b", n_predict=4, options={"timeout": 20})
        assert (result.stdout, result.backend) == ("m.gguf a b 4\n", "inference")
        with pytest.raises(InvalidInput, match="prompt is empty"):
            await client.submit_inference(model="m.gguf", prompt="")


async def test_lines_are_streamed_as_they_arrive(client: GRPCSupervisorClient, tmp_path: Path) -> None:
    script = "echo one; while ! test -e $0; do sleep 0.01; done; echo two >&2"
    seen = []
    async for event in client.stream_task(["sh", "-c", script, str(tmp_path / "go")]):
        seen.append((event.kind, event.text))
        if event.text == "one":
            (tmp_path / "go").touch()  # so the line came while the program ran
    assert seen == [("started", ""), ("stdout", "one"), ("stderr", "two"), ("completed", "")]
    assert event.result is not None
    assert (event.result.stdout, event.result.returncode) == ("one\n", 0)


async def test_a_models_answer_is_streamed(driver: GRPCSupervisorDriver) -> None:
    task = pb.Task(inference=pb.Inference(model="m", prompt="p"))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{driver.port}") as channel:
        moments = [moment async for moment in stub(channel).Stream(task)]
    assert moments[1].line == pb.Line(source=pb.Line.SOURCE_STDOUT, text="m p 16")


async def test_results_larger_than_grpcs_default_limit_come_through(client: GRPCSupervisorClient) -> None:
    result = await client.submit_task(["sh", "-c", "head -c 2000000 /dev/urandom; head -c 2000000 /dev/urandom >&2"])
    assert result.stdout_cut == result.stderr_cut == 2_000_000 - (1 << 20)


async def test_cancelling_ends_the_program_there(client: GRPCSupervisorClient, tmp_path: Path) -> None:
    task = asyncio.ensure_future(client.submit_task(["sh", "-c", "echo $$ > $0; exec sleep 60", str(tmp_path / "pid")]))
    pid = int(await appears(tmp_path / "pid"))
    task.cancel()
    await asyncio.wait([task])
    assert await gone(pid)


async def test_leaving_a_stream_ends_the_program_there(client: GRPCSupervisorClient) -> None:
    async with aclosing(client.stream_task(["sh", "-c", "echo $$; exec sleep 60"])) as events:
        async for event in events:
            if event.kind == "stdout":
                break
    assert await gone(int(event.text))


async def test_a_callers_deadline_ends_the_program_there(driver: GRPCSupervisorDriver, tmp_path: Path) -> None:
    script = ["sh", "-c", "echo $$ > $0; exec sleep 60", str(tmp_path / "pid")]
    error = await raw(driver.port, pb.Task(command=pb.Command(arguments=script)), timeout=0.5)
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await gone(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize(
    ("command", "options", "kind", "code"),
    [
        (["sh", "-c", "echo o; exec sleep 9"], {"timeout": 0.2}, RuntimeTimeoutError, "DEADLINE_EXCEEDED"),
        (["no-such-program"], {}, LaunchFailed, "FAILED_PRECONDITION"),
        (["sh", "-c", "echo o; exit 4"], {"check": True}, LaunchFailed, "ABORTED"),
        (["true"], {"timeout": -1}, InvalidInput, "INVALID_ARGUMENT"),
        (["true"], {"resources": {"gpu": 9}}, ResourcesImpossible, "INVALID_ARGUMENT"),
        (["true"], {"backend": "unheard-of"}, InvalidInput, "INVALID_ARGUMENT"),
        (["true"], {"retries": 11}, InvalidInput, "INVALID_ARGUMENT"),
        ([], {}, InvalidInput, "INVALID_ARGUMENT"),
        (["nul\0"], {}, InvalidInput, "INVALID_ARGUMENT"),
    ],
    ids=["timeout", "missing", "status", "negative", "impossible", "backend", "retries", "empty", "nul"],
)
async def test_errors_have_the_right_status_and_arrive_as_what_they_were(
    client: GRPCSupervisorClient,
    driver: GRPCSupervisorDriver,
    command: list[str],
    options: dict[str, Any],
    kind: type[RuntimeFailure],
    code: str,
) -> None:
    with pytest.raises(RuntimeFailure) as caught:
        await client.submit_task(command, options)
    assert type(caught.value) is kind
    error = await raw(driver.port, pb.Task(command=pb.Command(arguments=command), options=pb.Options(**options)))
    assert error.code().name == code
    assert error.details() == caught.value.what


async def test_facts_of_an_error_travel_with_it(client: GRPCSupervisorClient) -> None:
    with pytest.raises(RuntimeTimeoutError) as late:
        await client.submit_task(["sh", "-c", "echo so far; echo e >&2; exec sleep 9"], {"timeout": 0.3})
    assert (late.value.stdout, late.value.stderr, late.value.timeout) == ("so far\n", "e\n", 0.3)
    assert late.value.command[0] == "sh"
    assert "next: raise timeout=" in str(late.value)
    with pytest.raises(LaunchFailed) as failed:
        await client.submit_task(["sh", "-c", "exit 4"], {"check": True})
    assert failed.value.returncode == 4


async def test_an_error_with_much_output_still_fits(client: GRPCSupervisorClient) -> None:
    script = "yes ☃☃☃ | head -c 500000 >&2; yes ☃ | head -c 90000; echo end; exec sleep 9"
    with pytest.raises(RuntimeTimeoutError) as caught:
        await client.submit_task(["sh", "-c", script], {"timeout": 1})
    assert caught.value.stdout.endswith("end\n")


async def test_an_error_in_a_stream_arrives_as_what_it_was(client: GRPCSupervisorClient) -> None:
    with pytest.raises(RuntimeTimeoutError):
        async for _ in client.stream_task(["sleep", "9"], {"timeout": 0.2}):
            pass


async def test_a_busy_or_broken_supervisor_says_so(tmp_path: Path) -> None:
    supervisor = RuntimeSupervisor(
        PrintingRuntime(),
        concurrency=1,
        max_queue=0,
        backends={"gpu": BackendPolicy(breaker=BreakerPolicy(failures=1))},
    )
    async with (
        GRPCSupervisorDriver(supervisor, port=0, allowed_commands=ANY_COMMAND) as driver,
        GRPCSupervisorClient(f"127.0.0.1:{driver.port}") as client,
    ):
        await client.submit_task(["false"], {"backend": "gpu"})
        with pytest.raises(CircuitOpen):
            await client.submit_task(["true"], {"backend": "gpu"})
        holder = asyncio.ensure_future(supervisor.run_custom(["sleep", "9"]))
        await asyncio.sleep(0.1)
        with pytest.raises(QueueFull):
            await client.submit_task(["true"])
        error = await raw(driver.port, pb.Task(command=pb.Command(arguments=["true"])))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await supervisor.aclose(drain=0)
        with pytest.raises(SupervisorClosed):
            await client.submit_task(["true"])
        await asyncio.wait([holder])


async def test_a_bug_tells_the_caller_nothing_of_the_inside(
    client: GRPCSupervisorClient, supervisor: RuntimeSupervisor, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_: object) -> list[str]:
        raise KeyError("/secret/path")

    supervisor.runtime.run_inference = broken  # type: ignore[misc]
    with pytest.raises(DriverFailure, match="INTERNAL") as caught:
        await client.submit_inference(model="m", prompt="p")
    assert "secret" not in str(caught.value)
    assert "/secret/path" in caplog.text


async def test_no_task_runs_longer_than_the_server_allows(supervisor: RuntimeSupervisor) -> None:
    async with (
        GRPCSupervisorDriver(supervisor, port=0, allowed_commands=ANY_COMMAND, task_timeout=0.2) as driver,
        GRPCSupervisorClient(f"127.0.0.1:{driver.port}") as client,
    ):
        for options in ({}, {"timeout": 60}):
            with pytest.raises(RuntimeTimeoutError) as caught:
                await client.submit_task(["sleep", "9"], options)
            assert caught.value.timeout == 0.2


@pytest.mark.parametrize(
    ("command", "options"),
    [(["true"], {"env": {}}), (["true"], {"timeout": "soon"}), (["true"], {"retries": 2**40}), ([1], {})],
    ids=str,
)
async def test_what_cannot_be_sent_is_refused_here(
    client: GRPCSupervisorClient, command: list[str], options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput, match="cannot be sent"):
        await client.submit_task(command, options)


async def test_a_model_argument_of_the_wrong_type_is_refused_here(client: GRPCSupervisorClient) -> None:
    with pytest.raises(InvalidInput, match="cannot be sent"):
        await client.submit_inference(model="m", prompt="p", n_predict="many")


async def test_nobody_there_is_said_with_what_to_check() -> None:
    async with GRPCSupervisorClient("127.0.0.1:1") as client:
        with pytest.raises(DriverFailure, match="cannot be reached"):
            await client.submit_task(["true"])


async def test_a_program_killed_from_outside_is_a_result_there_too(client: GRPCSupervisorClient) -> None:
    result = await client.submit_task(["sh", "-c", "kill -9 $$"])
    assert result.returncode == -signal.SIGKILL


async def test_a_callers_trace_goes_on_over_the_wire(client: GRPCSupervisorClient, spans: InMemorySpanExporter) -> None:
    await client.submit_task(["true"])
    [event async for event in client.stream_task(["true"])]
    launches = [span for span in spans.get_finished_spans() if span.name == "bitnet.launch"]
    callers = [span for span in spans.get_finished_spans() if span.name.startswith("bitnet.grpc.")]
    assert len(launches) == 2
    assert [span.parent.span_id for span in launches if span.parent] == [span.context.span_id for span in callers]
