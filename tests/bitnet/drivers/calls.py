"""Calls as any gRPC client makes them."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from bitnet.proto import supervisor_pb2 as pb
from bitnet.proto import supervisor_pb2_grpc as pb_grpc

TOKEN = "shared-secret"


def stub(channel: grpc.aio.Channel) -> pb_grpc.SupervisorStub:
    return pb_grpc.SupervisorStub(channel)  # type: ignore[no-untyped-call]


async def raw(port: int, task: pb.Task, **call: Any) -> grpc.aio.AioRpcError:
    """The error that any gRPC client sees."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub(channel).Submit(task, **call)
        return caught.value


async def services(channel: grpc.aio.Channel, metadata: Any = ()) -> set[str]:
    """The names that reflection tells."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async for answer in stub.ServerReflectionInfo(iter([request]), metadata=metadata):
        return {service.name for service in answer.list_services_response.service}
    return set()
