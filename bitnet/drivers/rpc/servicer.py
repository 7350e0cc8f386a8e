"""What the server does with a task."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc

from bitnet.drivers.rpc import failures, wire
from bitnet.drivers.rpc.security import OWNER_HEADER, same_secret
from bitnet.errors import CommandRefused, InvalidInput, RuntimeFailure
from bitnet.proto import supervisor_pb2 as pb
from bitnet.proto import supervisor_pb2_grpc as pb_grpc
from bitnet.supervisor import RuntimeSupervisor, StreamEvent

_log = logging.getLogger(__name__)

ANY_COMMAND = ("*",)
"""An allow-list that allows everything."""

MAX_RETRIES = 10
"""More, asked for by a remote caller, is refused: each retry takes a slot from others."""

Context = grpc.aio.ServicerContext[Any, Any]


class SupervisorService(pb_grpc.SupervisorServicer):
    """The service of supervisor.proto around one supervisor.

    Args:
        supervisor: who runs the tasks.
        allowed: commands that callers may run, by their first word exactly as sent.
        owner: the secret of this process's own calls, which may run anything.
        task_timeout: no task may run longer; None for no limit.
        at_once: more tasks at a time are refused.
    """

    def __init__(
        self,
        supervisor: RuntimeSupervisor,
        allowed: Sequence[str],
        owner: str,
        task_timeout: float | None,
        at_once: int,
    ) -> None:
        self._supervisor = supervisor
        self._allowed = tuple(allowed)
        self._owner = owner
        self._task_timeout = task_timeout
        self._room = at_once

    async def Submit(self, request: pb.Task, context: Context) -> pb.Result:  # noqa: N802 - named by the .proto
        """Run a task to its end."""
        async with self._admitted(context), _told(context):
            options = self._options(request, context)
            if request.HasField("inference"):
                arguments = {**wire.read_inference(request.inference), **options}
                return wire.result(await self._supervisor.run_inference(**arguments))
            command = self._permitted(request, context)
            return wire.result(await self._supervisor.run_custom(command, **options))

    async def Stream(  # noqa: N802 - named by the .proto
        self, request: pb.Task, context: Context
    ) -> AsyncIterator[pb.Moment]:
        """Run a task and tell its lines as they arrive."""
        async with self._admitted(context), _told(context), aclosing(self._streamed(request, context)) as events:
            async for event in events:
                yield wire.moment(event)

    @asynccontextmanager
    async def _admitted(self, context: Context) -> AsyncIterator[None]:
        """Takes a place. Whoever comes here has shown the token, so no stranger takes one."""
        if self._room <= 0:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "as many tasks are here as may be at a time")
        self._room -= 1
        try:
            yield
        finally:
            self._room += 1

    def _streamed(self, request: pb.Task, context: Context) -> AsyncGenerator[StreamEvent, None]:
        options = self._options(request, context)
        if request.HasField("inference"):
            return self._supervisor.stream_inference(**wire.read_inference(request.inference), **options)
        return self._supervisor.stream(self._permitted(request, context), **options)

    def _permitted(self, request: pb.Task, context: Context) -> list[str]:
        command = list(request.command.arguments)
        if not request.HasField("command") or not command:
            raise InvalidInput("the task has neither a command nor an inference")
        allowed = self._allowed == ANY_COMMAND or command[0] in self._allowed
        if not allowed and not same_secret(_headers(context).get(OWNER_HEADER), self._owner):
            raise CommandRefused(command, self._allowed)
        return command

    def _options(self, request: pb.Task, context: Context) -> dict[str, Any]:
        options = wire.read_options(request.options)
        if options["retries"] > MAX_RETRIES:
            raise InvalidInput(f"retries={options['retries']} is more than a caller may ask for: {MAX_RETRIES}")
        backend = options.get("backend")
        if backend is not None and backend not in self._supervisor.backends:
            known = ", ".join(self._supervisor.backends)
            raise InvalidInput(f"backend {backend!r} is not known here", next_step=f"take one of: {known}")
        if self._task_timeout is not None:
            options["timeout"] = min(options.get("timeout", self._task_timeout), self._task_timeout)
        headers = _headers(context)
        options["trace"] = {key: str(headers[key]) for key in ("traceparent", "tracestate") if key in headers}
        return options


def _headers(context: Context) -> Mapping[str, str | bytes]:
    return dict(context.invocation_metadata() or ())


@asynccontextmanager
async def _told(context: Context) -> AsyncIterator[None]:
    """Failures become a status; what nobody foresaw tells the caller nothing about the inside."""
    try:
        yield
    except RuntimeFailure as failure:
        trailer = ((failures.KEY, failures.encode(failure)),)
        await context.abort(
            failures.code_of(failure), failure.what[: failures.OUTPUT_CHARACTERS], trailing_metadata=trailer
        )
    except Exception:
        _log.exception("a task failed in a way that is a bug")
        await context.abort(grpc.StatusCode.INTERNAL, "the server failed; its log says more")
