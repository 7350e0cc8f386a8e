from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bitnet.drivers import ANY_COMMAND, GRPCSupervisorClient, GRPCSupervisorDriver
from bitnet.drivers.rpc.driver import SERVICE
from bitnet.errors import DriverFailure, InvalidInput, PortTaken, RuntimeFailure
from bitnet.supervisor import RuntimeSupervisor
from tests.bitnet.drivers.calls import TOKEN, services
from tests.bitnet.supervisor.programs import appears, gone


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


async def test_reflection_names_the_service(driver: GRPCSupervisorDriver) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{driver.port}") as channel:
        assert SERVICE in await services(channel)
