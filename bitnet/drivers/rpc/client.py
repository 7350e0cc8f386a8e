"""`GRPCSupervisorClient`: launches on another host's supervisor."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc

from bitnet import tracing
from bitnet.drivers.rpc import failures, wire
from bitnet.drivers.rpc.security import CLIENT_KEYS, TLSConfig, channel_credentials, check_keys
from bitnet.errors import InvalidInput
from bitnet.listener import is_loopback
from bitnet.proto import supervisor_pb2 as pb
from bitnet.proto import supervisor_pb2_grpc as pb_grpc
from bitnet.supervisor import LaunchResult, StreamEvent

MAX_RESULT_BYTES = 64 << 20
"""Well above what a supervisor captures by default (1 MiB of each stream, three times that if it is no UTF-8)."""


class GRPCSupervisorClient:
    """Submits tasks to a `GRPCSupervisorDriver`. Make it inside a running event loop; close it, or use `async with`.

    Args:
        target: `host:port`, or another gRPC target.
        tls_config: `ca` (else the system's authorities), `client_cert` and `client_key` for mutual TLS,
            `server_name` where the certificate has another name than `target`. None for no TLS.
        auth_token: the server's token.
        headers: sent with every call.

    Raises:
        InvalidInput: an unknown key or unreadable file in `tls_config`, or a token that would travel in the clear.
    """

    def __init__(
        self,
        target: str,
        *,
        tls_config: TLSConfig | None = None,
        auth_token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.target = target
        self._headers = dict(headers or {})
        options: list[tuple[str, Any]] = [("grpc.max_receive_message_length", MAX_RESULT_BYTES)]
        if auth_token is not None:
            host = target if target.startswith("unix:") else target.rpartition(":")[0]
            if tls_config is None and not is_loopback(host):
                raise InvalidInput(
                    f"{target}: will not send a token without TLS",
                    why="whoever reads the network could use it",
                    next_step='give tls_config={"ca": …}',
                )
            self._headers["authorization"] = f"Bearer {auth_token}"
        if tls_config is None:
            self._channel = grpc.aio.insecure_channel(target, options)
        else:
            check_keys(tls_config, CLIENT_KEYS, ())
            if "server_name" in tls_config:
                options.append(("grpc.ssl_target_name_override", str(tls_config["server_name"])))
            self._channel = grpc.aio.secure_channel(target, channel_credentials(tls_config), options)
        self._stub = pb_grpc.SupervisorStub(self._channel)  # type: ignore[no-untyped-call]

    async def submit_task(self, command: Sequence[str], options: Mapping[str, Any] | None = None) -> LaunchResult:
        """Run `command` there. Cancelling ends it there.

        Args:
            command: the argument list; the server's allow-list must hold its first word.
            options: `timeout`, `backend`, `priority`, `resources`, `retries`, `check`, `metadata`.

        Raises:
            DriverFailure: the server cannot be reached, refused the token, or broke.
            RuntimeFailure: as the supervisor there raised it.
        """
        return await self._submit(wire.command_task(command, options or {}))

    async def submit_inference(
        self, *, model: str, prompt: str, options: Mapping[str, Any] | None = None, **arguments: Any
    ) -> LaunchResult:
        """Let a model of that host answer; also `n_predict`, `ctx_size`, `temperature`. Errors as `submit_task`."""
        return await self._submit(wire.inference_task({"model": model, "prompt": prompt, **arguments}, options or {}))

    async def stream_task(
        self, command: Sequence[str], options: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[StreamEvent, None]:
        """Run `command` there and yield its lines as they arrive, then its result. Leaving early ends it there."""
        with tracing.span("bitnet.grpc.stream", target=self.target) as span:
            call = self._stub.Stream(wire.command_task(command, options or {}), metadata=self._metadata(span))
            try:
                async for message in call:
                    yield wire.read_moment(message)
            except grpc.aio.AioRpcError as error:
                raise failures.from_rpc(error, self.target) from None
            finally:
                call.cancel()

    async def aclose(self) -> None:
        """Close the connection; calls on their way are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> GRPCSupervisorClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _submit(self, task: pb.Task) -> LaunchResult:
        with tracing.span("bitnet.grpc.submit", target=self.target) as span:
            try:
                return wire.read_result(await self._stub.Submit(task, metadata=self._metadata(span)))
            except grpc.aio.AioRpcError as error:
                raise failures.from_rpc(error, self.target) from None

    def _metadata(self, span: tracing.Span) -> tuple[tuple[str, str], ...]:
        return tuple({**self._headers, **span.carrier()}.items())
