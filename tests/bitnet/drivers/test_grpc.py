from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bitnet.breaker import BreakerPolicy
from bitnet.drivers import ANY_COMMAND, GRPCSupervisorClient, GRPCSupervisorDriver
from bitnet.drivers.rpc.driver import SERVICE
from bitnet.errors import (
    CircuitOpen,
    CommandRefused,
    DriverFailure,
    InvalidInput,
    LaunchFailed,
    PortTaken,
    QueueFull,
    ResourcesImpossible,
    RuntimeFailure,
    RuntimeTimeoutError,
    SupervisorClosed,
)
from bitnet.proto import supervisor_pb2 as pb
from bitnet.proto import supervisor_pb2_grpc as pb_grpc
from bitnet.supervisor import BackendPolicy, RuntimeSupervisor
from tests.bitnet.supervisor.programs import PrintingRuntime, appears, children, gone

TOKEN = "shared-secret"


@pytest.fixture
async def driver(supervisor: RuntimeSupervisor) -> AsyncIterator[GRPCSupervisorDriver]:
    """Plain, on loopback, and open for every command."""
    async with GRPCSupervisorDriver(supervisor, port=0, allowed_commands=ANY_COMMAND) as driver:
        yield driver


@pytest.fixture
async def client(driver: GRPCSupervisorDriver) -> AsyncIterator[GRPCSupervisorClient]:
    async with GRPCSupervisorClient(f"127.0.0.1:{driver.port}") as client:
        yield client


def server_tls(paths: dict[str, Path], **more: str) -> dict[str, Any]:
    return {"server_cert": paths["server"], "server_key": paths["server-key"], **more}


def client_tls(paths: dict[str, Path], who: str = "") -> dict[str, Any]:
    own = {"client_cert": paths[who], "client_key": paths[f"{who}-key"]} if who else {}
    return {"ca": paths["ca"], **own}


def stub(channel: grpc.aio.Channel) -> pb_grpc.SupervisorStub:
    return pb_grpc.SupervisorStub(channel)  # type: ignore[no-untyped-call]


async def raw(port: int, task: pb.Task, **call: Any) -> grpc.aio.AioRpcError:
    """The error that any gRPC client sees."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub(channel).Submit(task, **call)
        return caught.value


# Tasks


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


# Errors


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


# Limits


async def test_a_request_that_is_too_large_is_refused(supervisor: RuntimeSupervisor) -> None:
    async with (
        GRPCSupervisorDriver(supervisor, port=0, allowed_commands=ANY_COMMAND, max_request_bytes=1000) as driver,
        GRPCSupervisorClient(f"127.0.0.1:{driver.port}") as client,
    ):
        assert (await client.submit_task(["true"])).returncode == 0
        with pytest.raises(DriverFailure, match="RESOURCE_EXHAUSTED"):
            await client.submit_task(["true", "x" * 2000])


async def test_more_calls_than_allowed_are_refused(supervisor: RuntimeSupervisor, tmp_path: Path) -> None:
    async with (
        GRPCSupervisorDriver(supervisor, port=0, allowed_commands=ANY_COMMAND, max_concurrent_rpcs=1) as driver,
        GRPCSupervisorClient(f"127.0.0.1:{driver.port}") as client,
    ):
        script = ["sh", "-c", "echo $$ > $0; exec sleep 9", str(tmp_path / "pid")]
        holder = asyncio.ensure_future(client.submit_task(script))
        await appears(tmp_path / "pid")
        with pytest.raises(DriverFailure, match="RESOURCE_EXHAUSTED"):
            await client.submit_task(["true"])
        holder.cancel()
        await asyncio.wait([holder])


# Who may


@pytest.mark.parametrize("command", [["sh", "-c", "id"], ["/tmp/llama-cli"], ["./llama-cli"], [" llama-cli"]], ids=str)
async def test_only_commands_on_the_list_run_and_the_list_is_on_by_default(
    supervisor: RuntimeSupervisor, command: list[str]
) -> None:
    async with (
        GRPCSupervisorDriver(supervisor, port=0) as driver,
        GRPCSupervisorClient(f"127.0.0.1:{driver.port}") as client,
    ):
        with pytest.raises(CommandRefused, match="llama-cli, llama-server"):
            await client.submit_task(command)
        with pytest.raises(CommandRefused):
            await anext(client.stream_task(command))
        error = await raw(driver.port, pb.Task(command=pb.Command(arguments=command)))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert children() == []


async def test_a_command_on_the_list_runs(supervisor: RuntimeSupervisor) -> None:
    async with (
        GRPCSupervisorDriver(supervisor, port=0, allowed_commands=["echo"]) as driver,
        GRPCSupervisorClient(f"127.0.0.1:{driver.port}") as client,
    ):
        assert (await client.submit_task(["echo", "hi"])).stdout == "hi\n"


async def test_the_owners_own_calls_are_not_held_to_the_list_and_nobody_can_pretend_to_be(
    supervisor: RuntimeSupervisor,
) -> None:
    async with GRPCSupervisorDriver(supervisor, port=0, auth_token=TOKEN) as driver:
        assert (await driver.submit_task(["echo", "mine"])).stdout == "mine\n"
        async with GRPCSupervisorClient(
            f"127.0.0.1:{driver.port}", auth_token=TOKEN, headers={"x-bitnet-owner": "guess"}
        ) as client:
            with pytest.raises(CommandRefused):
                await client.submit_task(["echo", "theirs"])


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", TOKEN, f"bearer {TOKEN}", f"Basic {TOKEN}"]
)
async def test_without_the_token_nothing_runs_and_nothing_is_told(supervisor: RuntimeSupervisor, header: str) -> None:
    async with GRPCSupervisorDriver(supervisor, port=0, auth_token=TOKEN, allowed_commands=ANY_COMMAND) as driver:
        metadata = (("authorization", header),) if header else ()
        error = await raw(driver.port, pb.Task(command=pb.Command(arguments=["true"])), metadata=metadata)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        async with grpc.aio.insecure_channel(f"127.0.0.1:{driver.port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="UNAUTHENTICATED"):
                async for _ in stub(channel).Stream(pb.Task(), metadata=metadata):
                    pass
            with pytest.raises(grpc.aio.AioRpcError, match="UNAUTHENTICATED"):
                await _services(channel, metadata)
    assert supervisor.snapshot().backends == {}


async def test_with_the_token_tasks_run(supervisor: RuntimeSupervisor) -> None:
    async with GRPCSupervisorDriver(supervisor, port=0, auth_token=TOKEN, allowed_commands=ANY_COMMAND) as driver:
        async with GRPCSupervisorClient(f"127.0.0.1:{driver.port}", auth_token=TOKEN) as client:
            assert (await client.submit_task(["echo", "hi"])).stdout == "hi\n"
            assert [event.kind async for event in client.stream_task(["true"])] == ["started", "completed"]
        async with GRPCSupervisorClient(f"127.0.0.1:{driver.port}", auth_token="wrong") as client:
            with pytest.raises(DriverFailure, match="refused the token"):
                await client.submit_task(["true"])


# TLS


async def test_a_client_that_trusts_the_authority_talks_over_tls(
    supervisor: RuntimeSupervisor, certificates: dict[str, Path]
) -> None:
    async with GRPCSupervisorDriver(
        supervisor, port=0, tls_config=server_tls(certificates), allowed_commands=ANY_COMMAND
    ) as driver:
        async with GRPCSupervisorClient(f"localhost:{driver.port}", tls_config=client_tls(certificates)) as client:
            assert (await client.submit_task(["echo", "tls"])).stdout == "tls\n"
        for tls in ({"ca": certificates["other-ca"]}, None):
            async with GRPCSupervisorClient(f"localhost:{driver.port}", tls_config=tls) as client:
                with pytest.raises(DriverFailure, match="cannot be reached"):
                    await client.submit_task(["true"])


async def test_with_a_client_authority_only_its_clients_get_in(
    supervisor: RuntimeSupervisor, certificates: dict[str, Path]
) -> None:
    tls = server_tls(certificates, client_ca=str(certificates["ca"]))
    async with GRPCSupervisorDriver(supervisor, "0.0.0.0", 0, tls_config=tls, allowed_commands=ANY_COMMAND) as driver:
        target = f"localhost:{driver.port}"
        async with GRPCSupervisorClient(target, tls_config=client_tls(certificates, "client")) as client:
            assert (await client.submit_task(["echo", "mutual"])).stdout == "mutual\n"
        for who in ("", "stranger"):
            async with GRPCSupervisorClient(target, tls_config=client_tls(certificates, who)) as client:
                with pytest.raises(DriverFailure, match="cannot be reached"):
                    await client.submit_task(["true"])
        with pytest.raises(InvalidInput, match="no client certificate to show"):
            await driver.submit_task(["true"])


async def test_the_owners_own_calls_work_under_mutual_tls_and_other_names(
    supervisor: RuntimeSupervisor, certificates: dict[str, Path]
) -> None:
    tls = {
        **client_tls(certificates, "client"),
        "server_cert": certificates["far"],
        "server_key": certificates["far-key"],
        "client_ca": certificates["ca"],
        "server_name": "gpu1.example.net",
    }
    async with GRPCSupervisorDriver(supervisor, "0.0.0.0", 0, tls_config=tls) as driver:
        assert (await driver.submit_task(["echo", "hi"])).stdout == "hi\n"


async def test_a_certificate_for_another_name_is_not_trusted(
    supervisor: RuntimeSupervisor, certificates: dict[str, Path]
) -> None:
    tls = {"server_cert": certificates["far"], "server_key": certificates["far-key"], "ca": certificates["ca"]}
    async with GRPCSupervisorDriver(supervisor, port=0, tls_config=tls) as driver:
        with pytest.raises(DriverFailure, match="server_name"):
            await driver.submit_task(["true"])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"sever_cert": "x"}, "unknown key"),
        ({"server_cert": None}, "is missing"),
        ({"client_cert": "x"}, "belong together"),
        ({"server_key": "/no/such/key.pem"}, "cannot be read"),
    ],
    ids=["misspelt", "missing", "half a pair", "unreadable"],
)
async def test_a_wrong_tls_configuration_is_named(
    supervisor: RuntimeSupervisor, certificates: dict[str, Path], change: dict[str, Any], complaint: str
) -> None:
    tls = {key: value for key, value in {**server_tls(certificates), **change}.items() if value is not None}
    with pytest.raises(InvalidInput, match=complaint):
        await GRPCSupervisorDriver(supervisor, port=0, tls_config=tls).start()


# Listening


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "192.0.2.7", "gpu1.example.net", "localhost.example.net"])
@pytest.mark.parametrize(
    "protected", [{}, {"auth_token": TOKEN}, {"tls_config": {"server_cert": "c", "server_key": "k"}}]
)
def test_beyond_loopback_it_wants_both_tls_and_a_way_to_know_its_callers(
    supervisor: RuntimeSupervisor, host: str, protected: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput, match="will not listen beyond loopback"):
        GRPCSupervisorDriver(supervisor, host, 0, **protected)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
async def test_on_loopback_it_listens_as_it_is(supervisor: RuntimeSupervisor, host: str) -> None:
    async with GRPCSupervisorDriver(supervisor, host, 0) as driver:
        assert (await driver.submit_task(["echo", "hi"])).stdout == "hi\n"


async def test_a_unix_socket_is_loopback(supervisor: RuntimeSupervisor, tmp_path: Path) -> None:
    target = f"unix:{tmp_path}/socket"
    async with GRPCSupervisorDriver(supervisor, target, auth_token=TOKEN, allowed_commands=["echo"]) as driver:
        assert (await driver.submit_task(["echo", "hi"])).stdout == "hi\n"
        async with GRPCSupervisorClient(target, auth_token=TOKEN) as client:
            assert (await client.submit_task(["echo", "you too"])).stdout == "you too\n"


async def test_a_taken_port_is_said(supervisor: RuntimeSupervisor, driver: GRPCSupervisorDriver) -> None:
    with pytest.raises(PortTaken, match=str(driver.port)):
        await GRPCSupervisorDriver(supervisor, port=driver.port).start()
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(PortTaken):
        await GRPCSupervisorDriver(supervisor, port=other.getsockname()[1]).start()


def test_an_empty_token_is_refused(supervisor: RuntimeSupervisor) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        GRPCSupervisorDriver(supervisor, auth_token="")


async def test_a_token_is_not_sent_in_the_clear_to_another_machine() -> None:
    with pytest.raises(InvalidInput, match="without TLS"):
        GRPCSupervisorClient("gpu1.example.net:50051", auth_token=TOKEN)


async def test_a_driver_that_is_not_started_says_so(supervisor: RuntimeSupervisor) -> None:
    with pytest.raises(DriverFailure, match="not started"):
        await GRPCSupervisorDriver(supervisor).submit_task(["true"])


async def test_stopping_ends_what_runs_for_callers(
    supervisor: RuntimeSupervisor, driver: GRPCSupervisorDriver, client: GRPCSupervisorClient, tmp_path: Path
) -> None:
    task = asyncio.ensure_future(client.submit_task(["sh", "-c", "echo $$ > $0; exec sleep 60", str(tmp_path / "pid")]))
    pid = int(await appears(tmp_path / "pid"))
    await driver.stop(grace=0.1)
    with pytest.raises(RuntimeFailure):
        await task
    assert await gone(pid)
    await driver.stop()


# Health, reflection, tracing


async def test_health_is_open_to_probes_and_tells_when_it_ends(supervisor: RuntimeSupervisor) -> None:
    driver = GRPCSupervisorDriver(supervisor, port=0, auth_token=TOKEN)
    await driver.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{driver.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.ensure_future(driver.stop(grace=0.5))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        await stopping


async def test_strangers_take_no_place_of_those_who_are_welcome(supervisor: RuntimeSupervisor) -> None:
    """Issue 13, 2: 300 streams that watch health, and as many questions that never come, from one address."""
    async with (
        GRPCSupervisorDriver(
            supervisor, port=0, auth_token=TOKEN, allowed_commands=ANY_COMMAND, max_concurrent_rpcs=4
        ) as driver,
        grpc.aio.insecure_channel(f"127.0.0.1:{driver.port}") as channel,
        GRPCSupervisorClient(f"127.0.0.1:{driver.port}", auth_token=TOKEN) as client,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(300)]
        silent = [channel.stream_stream("/grpc.health.v1.Health/Check")() for _ in range(300)]
        refused = 0
        for watch in watches:
            try:
                await watch.read()
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                refused += 1
        assert 0 < refused < len(watches)

        assert (await client.submit_task(["echo", "hi"])).stdout == "hi\n"
        assert {await call.code() for call in silent} <= {
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        }
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        for watch in watches:
            watch.cancel()


async def _services(channel: grpc.aio.Channel, metadata: Any = ()) -> set[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async for answer in stub.ServerReflectionInfo(iter([request]), metadata=metadata):
        return {service.name for service in answer.list_services_response.service}
    return set()


async def test_reflection_names_the_service(driver: GRPCSupervisorDriver) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{driver.port}") as channel:
        assert SERVICE in await _services(channel)


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
