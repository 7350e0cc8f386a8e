"""Errors over the wire: a status code for any gRPC client, and all the facts for ours."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from bitnet import errors
from bitnet.errors import RuntimeFailure
from bitnet.proto import supervisor_pb2 as pb

KEY = "bitnet-failure-bin"
"""The trailing metadata that hold a `Failure` message; `-bin` is how gRPC marks bytes."""

OUTPUT_CHARACTERS = 500
"""The end of each stream that travels with a failure: metadata are limited to 8 KiB by default, one character may
take 4 bytes, and some clients want them in base64."""

# The first class that fits decides.
_CODES: Sequence[tuple[type[RuntimeFailure], grpc.StatusCode]] = (
    (errors.InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.CommandRefused, grpc.StatusCode.PERMISSION_DENIED),
    (errors.QueueFull, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.NotEnoughMemory, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.CircuitOpen, grpc.StatusCode.UNAVAILABLE),
    (errors.SupervisorClosed, grpc.StatusCode.UNAVAILABLE),
    (errors.RuntimeTimeoutError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.LaunchFailed, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.BinaryNotFound, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.MissingExtra, grpc.StatusCode.FAILED_PRECONDITION),
)

_KINDS = {
    kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RuntimeFailure)
}


def code_of(failure: RuntimeFailure) -> grpc.StatusCode:
    """The status code that says what kind of failure it is. A program that ran and failed is `ABORTED`."""
    if isinstance(failure, errors.LaunchFailed) and failure.returncode is not None:
        return grpc.StatusCode.ABORTED
    return next((code for kind, code in _CODES if isinstance(failure, kind)), grpc.StatusCode.INTERNAL)


def encode(failure: RuntimeFailure) -> bytes:
    """The facts of a failure, cut to what metadata can hold."""
    message = pb.Failure(
        kind=type(failure).__name__,
        what=failure.what[:OUTPUT_CHARACTERS],
        why=failure.why[:OUTPUT_CHARACTERS],
        next_step=failure.next_step[:OUTPUT_CHARACTERS],
    )
    if isinstance(failure, errors.LaunchFailed | errors.RuntimeTimeoutError):
        message.command.extend(word[:100] for word in failure.command[:8])
        message.stdout, message.stderr = failure.stdout[-OUTPUT_CHARACTERS:], failure.stderr[-OUTPUT_CHARACTERS:]
    if isinstance(failure, errors.LaunchFailed) and failure.returncode is not None:
        message.returncode = failure.returncode
    if isinstance(failure, errors.RuntimeTimeoutError):
        message.timeout = failure.timeout
    return message.SerializeToString()


def decode(data: bytes) -> RuntimeFailure:
    """The failure that was encoded: of its own class, with the facts that travelled."""
    message = pb.Failure.FromString(data)
    kind = _KINDS.get(message.kind, RuntimeFailure)
    # Not by its constructor: classes differ in theirs, and the sentences are made already.
    failure = kind.__new__(kind, message.what)
    failure.what, failure.why, failure.next_step = message.what, message.why, message.next_step
    if isinstance(failure, errors.LaunchFailed | errors.RuntimeTimeoutError):
        failure.command = tuple(message.command)
        failure.stdout, failure.stderr = message.stdout, message.stderr
    if isinstance(failure, errors.LaunchFailed):
        failure.returncode = message.returncode if message.HasField("returncode") else None
    if isinstance(failure, errors.RuntimeTimeoutError):
        failure.timeout = message.timeout
    return failure


def from_rpc(error: grpc.aio.AioRpcError, target: str) -> RuntimeFailure:
    """What a failed call means to our caller."""
    for key, value in error.trailing_metadata() or ():
        if key == KEY and isinstance(value, bytes):
            return decode(value)
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return errors.DriverFailure(f"{target}: refused the token", why=details, next_step="check auth_token=")
    if code is grpc.StatusCode.UNAVAILABLE:
        return errors.DriverFailure(
            f"{target}: cannot be reached",
            why=details,
            next_step="check address and port, and with TLS that the certificate names tls_config['server_name']",
        )
    return errors.DriverFailure(f"{target}: the call failed with {code.name}", why=details)
