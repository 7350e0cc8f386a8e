"""`GRPCSupervisorDriver`: a supervisor that other processes and hosts may use.

This is remote execution. Three fences stand before it: TLS, a token or client certificates, and a list of the
commands that callers may run. The first two are demanded beyond loopback, the third is on unless taken down.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from bitnet.drivers.rpc.client import GRPCSupervisorClient
from bitnet.drivers.rpc.security import (
    CLIENT_KEYS,
    OWNER_HEADER,
    TLSConfig,
    TokenInterceptor,
    check_listener,
    server_credentials,
)
from bitnet.drivers.rpc.servicer import SupervisorService
from bitnet.errors import DriverFailure, InvalidInput, PortTaken
from bitnet.proto import supervisor_pb2 as pb
from bitnet.proto import supervisor_pb2_grpc as pb_grpc
from bitnet.supervisor import LaunchResult, RuntimeSupervisor

ALLOWED_COMMANDS = ("llama-cli", "llama-server")

SERVICE = pb.DESCRIPTOR.services_by_name["Supervisor"].full_name

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "[::]": "[::1]"}  # noqa: S104 - recognised, not chosen


class GRPCSupervisorDriver:
    """Serves a supervisor over gRPC, with health service and reflection.

    Args:
        supervisor: who runs the tasks; it is not closed with the driver.
        host: where to listen. Beyond loopback TLS is demanded, and a token or client certificates.
        port: 0 for any free one; `.port` tells which, once started.
        tls_config: paths. `server_cert` and `server_key`; `client_ca` demands client certificates. For this
            process's own calls: `ca` (else `server_cert` itself is trusted), `client_cert` and `client_key`,
            `server_name` (else `localhost`), a name that the certificate has.
        auth_token: the bearer token that callers must send.
        allowed_commands: first words of commands that callers may run, exactly as they send them; `ANY_COMMAND`
            takes this fence down. Tasks of `submit_inference` name no command and are always allowed.
        task_timeout: no task of a caller may run longer; None for no limit.
        max_concurrent_rpcs: more tasks at a time are refused with RESOURCE_EXHAUSTED. Whoever asks for health without
            the token takes none of their places.
        max_request_bytes: larger requests are refused with RESOURCE_EXHAUSTED.

    Raises:
        UnsafeListener: `host` is beyond loopback and not protected.
        InvalidInput: the token is empty.
    """

    def __init__(
        self,
        supervisor: RuntimeSupervisor,
        host: str = "127.0.0.1",
        port: int = 50051,
        *,
        tls_config: TLSConfig | None = None,
        auth_token: str | None = None,
        allowed_commands: Sequence[str] = ALLOWED_COMMANDS,
        task_timeout: float | None = None,
        max_concurrent_rpcs: int = 256,
        max_request_bytes: int = 4 << 20,
    ) -> None:
        if auth_token is not None and not auth_token:
            raise InvalidInput("auth_token is empty", next_step="give a long random one, or None")
        check_listener(host, tls=tls_config, token=auth_token)
        self.host = host
        self.port = port
        self._tls = tls_config
        self._owner = secrets.token_urlsafe(32)
        self._interceptor = TokenInterceptor(auth_token, self._owner)
        self._service = SupervisorService(
            supervisor, allowed_commands, self._owner, task_timeout, at_once=max_concurrent_rpcs
        )
        self._options = [
            ("grpc.max_receive_message_length", max_request_bytes),
            ("grpc.so_reuseport", 0),  # else a second server on the same port would take half of the calls
            # Who connects and asks for nothing is let go, in milliseconds; a client that comes back connects anew.
            ("grpc.max_connection_idle_ms", 60_000),
            ("grpc.server_handshake_timeout_ms", 10_000),
        ]
        self._server: grpc.aio.Server | None = None
        self._client: GRPCSupervisorClient | None = None
        self._health = health.aio.HealthServicer()

    async def start(self) -> None:
        """Listen.

        Raises:
            InvalidInput: a key of `tls_config` is unknown or missing, or a file cannot be read.
            PortTaken: something else listens there, or this process may not.
        """
        credentials = server_credentials(self._tls) if self._tls is not None else None
        server = grpc.aio.server(
            interceptors=[self._interceptor],
            options=self._options,
        )
        pb_grpc.add_SupervisorServicer_to_server(self._service, server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        address = _address(self.host, self.port)
        try:
            bound = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        except RuntimeError as error:
            raise PortTaken(
                f"cannot listen on {address}", why=str(error), next_step="choose another port, or end what has it"
            ) from error
        await server.start()
        self.port = bound
        self._server = server
        for name in ("", SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def submit_task(self, command: Sequence[str], options: Mapping[str, Any] | None = None) -> LaunchResult:
        """Run `command` through the server, as its owner: the allow-list is for callers from outside.

        Arguments and errors are those of `GRPCSupervisorClient.submit_task`.

        Raises:
            DriverFailure: the driver is not started.
        """
        return await self._own_client().submit_task(command, options)

    async def stop(self, grace: float = 5.0) -> None:
        """Take no more calls; those on their way get `grace` seconds and are then cancelled, with their programs."""
        if self._server is not None:
            await self._health.enter_graceful_shutdown()
            await self._server.stop(grace)
            self._server = None
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def __aenter__(self) -> GRPCSupervisorDriver:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.stop()

    def _own_client(self) -> GRPCSupervisorClient:
        if self._server is None:
            raise DriverFailure("the gRPC driver is not started", next_step="await driver.start()")
        if self._client is None:
            tls = None
            if self._tls is not None:
                if "client_ca" in self._tls and "client_cert" not in self._tls:
                    raise InvalidInput(
                        "tls_config: this process's own calls have no client certificate to show",
                        why="client_ca demands one of every caller",
                        next_step='give tls_config={…, "client_cert": …, "client_key": …}',
                    )
                own = {key: value for key, value in self._tls.items() if key in CLIENT_KEYS}
                tls = {"ca": self._tls["server_cert"], "server_name": "localhost", **own}
            target = _address(_ANYWHERE.get(self.host, self.host), self.port)
            self._client = GRPCSupervisorClient(target, tls_config=tls, headers={OWNER_HEADER: self._owner})
        return self._client


def _address(host: str, port: int) -> str:
    if host.startswith("unix:"):
        return host
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
