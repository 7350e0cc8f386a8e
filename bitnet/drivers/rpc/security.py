"""Who may talk to whom: certificates, tokens, and where it is safe to listen."""

from __future__ import annotations

import asyncio
import hmac
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import grpc

from bitnet.errors import InvalidInput, UnsafeListener
from bitnet.listener import is_loopback

SERVER_KEYS = ("server_cert", "server_key", "client_ca", "ca", "client_cert", "client_key", "server_name")
CLIENT_KEYS = ("ca", "client_cert", "client_key", "server_name")

OWNER_HEADER = "x-bitnet-owner"
"""Carries a secret that only the process of the server knows: its own calls are not held to the allow-list."""

_OPEN_TO_ALL = "/grpc.health.v1.Health/"
"""Probes of Kubernetes cannot send a token; health tells nothing but whether the server serves."""

_STRANGERS, _OF_ONE_PEER = 128, 32
"""Calls of one kind of those without a token, at a time, and of these of one address: their room is their own."""

_ASKS_SECONDS = 2.0
"""A stranger's request is there by then."""

TLSConfig = Mapping[str, str | os.PathLike[str]]


def check_listener(host: str, *, tls: TLSConfig | None, token: str | None) -> None:
    """Refuse to offer remote execution to a network without protection.

    Raises:
        UnsafeListener: beyond loopback, and without TLS, or with neither a token nor client certificates.
    """
    if is_loopback(host):
        return
    if not tls:
        raise UnsafeListener(
            f"{host}: will not listen beyond loopback without TLS",
            why="whoever reads the network could read the token and run commands on this host",
            next_step='give tls_config={"server_cert": …, "server_key": …}, or host="127.0.0.1"',
        )
    if not token and "client_ca" not in tls:
        raise UnsafeListener(
            f"{host}: will not listen beyond loopback without a token or client certificates",
            why="whoever reaches the port could run commands on this host",
            next_step='give auth_token=, or tls_config={…, "client_ca": …}',
        )


def check_keys(tls: TLSConfig, known: tuple[str, ...], needed: tuple[str, ...]) -> None:
    """Refuse a TLS configuration with a misspelt or missing key.

    Raises:
        InvalidInput: a key is unknown or missing, or a pair is not complete.
    """
    for key in tls:
        if key not in known:
            raise InvalidInput(f"tls_config[{key!r}]: unknown key", next_step=f"take of: {', '.join(known)}")
    for key in needed:
        if key not in tls:
            raise InvalidInput(f"tls_config[{key!r}] is missing")
    if ("client_cert" in tls) != ("client_key" in tls):
        raise InvalidInput("tls_config: client_cert and client_key belong together")


def server_credentials(tls: TLSConfig) -> grpc.ServerCredentials:
    """TLS for a server; with `client_ca`, only clients with a certificate of that authority get in.

    Raises:
        InvalidInput: a key is unknown or missing, or a file cannot be read.
    """
    check_keys(tls, SERVER_KEYS, ("server_cert", "server_key"))
    client_ca = _read(tls, "client_ca") if "client_ca" in tls else None
    pair = (_read(tls, "server_key"), _read(tls, "server_cert"))
    return grpc.ssl_server_credentials([pair], root_certificates=client_ca, require_client_auth=client_ca is not None)


def channel_credentials(tls: TLSConfig) -> grpc.ChannelCredentials:
    """TLS for a client: trusts `ca`, else the system's authorities; shows `client_cert` if there is one.

    Raises:
        InvalidInput: a file cannot be read.
    """
    ca, key, cert = (_read(tls, name) if name in tls else None for name in ("ca", "client_key", "client_cert"))
    return grpc.ssl_channel_credentials(ca, key, cert)


def _read(tls: TLSConfig, key: str) -> bytes:
    try:
        return Path(tls[key]).read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"tls_config[{key!r}]: {tls[key]} cannot be read", why=str(error.strerror), next_step="check the path"
        ) from error


def same_secret(given: str | bytes | None, secret: str) -> bool:
    """Compare in a time that tells nothing about where they differ."""
    given = given or b""
    return hmac.compare_digest(given if isinstance(given, bytes) else given.encode(), secret.encode())


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Turns away calls without the bearer token, before anything of them is read.

    What is open to all is answered in a room apart, however many ask and however long they stay, so that they take
    no place of those who are welcome.

    Args:
        token: what callers must send, or None where everybody who got through TLS is welcome.
        owner: the secret of this process's own calls.
    """

    def __init__(self, token: str | None, owner: str) -> None:
        self._token = token
        self._owner = owner
        # By their addresses: those that ask, and those that watch, who stay and leave the others their room.
        self._strangers: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}

        async def deny(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the bearer token is missing or wrong")

        # One handler serves all kinds of calls: it never reads a request and never answers.
        self._deny: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(deny)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Give the handler of the call, or the one that denies it."""
        is_open = handler_call_details.method.startswith(_OPEN_TO_ALL)
        if self._token is None and not is_open:
            return await continuation(handler_call_details)
        headers = dict(handler_call_details.invocation_metadata or ())
        welcome = self._token is not None and same_secret(headers.get("authorization"), f"Bearer {self._token}")
        if welcome or same_secret(headers.get(OWNER_HEADER), self._owner):
            return await continuation(handler_call_details)
        if not is_open:
            return self._deny
        handler = await continuation(handler_call_details)
        return handler and self._apart(handler)

    def _apart(self, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:
        """`handler`, of one request, for strangers. As one of streams it begins before anything of the call is read."""
        strangers = self._strangers[handler.response_streaming]

        async def answer(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]) -> None:
            peer = context.peer().rpartition(":")[0] or context.peer()
            if strangers.total() >= _STRANGERS or strangers[peer] >= _OF_ONE_PEER:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many ask without a token at a time")
            strangers[peer] += 1
            try:
                try:
                    request = await asyncio.wait_for(anext(requests), _ASKS_SECONDS)
                except (TimeoutError, StopAsyncIteration):
                    await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "no request came")
                if handler.response_streaming:
                    await handler.unary_stream(request, context)
                else:
                    await context.write(await handler.unary_unary(request, context))
            finally:
                strangers[peer] -= 1
                if not strangers[peer]:
                    del strangers[peer]

        return grpc.stream_stream_rpc_method_handler(
            answer,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
