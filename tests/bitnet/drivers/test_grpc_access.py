from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from bitnet.drivers import ANY_COMMAND, GRPCSupervisorClient, GRPCSupervisorDriver
from bitnet.errors import CommandRefused, DriverFailure, InvalidInput
from bitnet.proto import supervisor_pb2 as pb
from bitnet.supervisor import RuntimeSupervisor
from tests.bitnet.drivers.calls import TOKEN, raw, services, stub
from tests.bitnet.supervisor.programs import appears, children


def server_tls(paths: dict[str, Path], **more: str) -> dict[str, Any]:
    return {"server_cert": paths["server"], "server_key": paths["server-key"], **more}


def client_tls(paths: dict[str, Path], who: str = "") -> dict[str, Any]:
    own = {"client_cert": paths[who], "client_key": paths[f"{who}-key"]} if who else {}
    return {"ca": paths["ca"], **own}


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
                await services(channel, metadata)
    assert supervisor.snapshot().backends == {}


async def test_with_the_token_tasks_run(supervisor: RuntimeSupervisor) -> None:
    async with GRPCSupervisorDriver(supervisor, port=0, auth_token=TOKEN, allowed_commands=ANY_COMMAND) as driver:
        async with GRPCSupervisorClient(f"127.0.0.1:{driver.port}", auth_token=TOKEN) as client:
            assert (await client.submit_task(["echo", "hi"])).stdout == "hi\n"
            assert [event.kind async for event in client.stream_task(["true"])] == ["started", "completed"]
        async with GRPCSupervisorClient(f"127.0.0.1:{driver.port}", auth_token="wrong") as client:
            with pytest.raises(DriverFailure, match="refused the token"):
                await client.submit_task(["true"])


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
