"""Between the supervisor's values and the messages of supervisor.proto. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bitnet.errors import InvalidInput
from bitnet.proto import supervisor_pb2 as pb
from bitnet.supervisor import LaunchResult, StreamEvent

OPTIONS = ("timeout", "backend", "priority", "resources", "retries", "check", "metadata")
"""Options that a remote caller may give; a fallback, an environment or a folder are the host's own business."""


def command_task(command: Sequence[str], options: Mapping[str, Any]) -> pb.Task:
    """A task that runs `command`.

    Raises:
        InvalidInput: an option that cannot be sent, or a value of the wrong type.
    """
    try:
        return pb.Task(command=pb.Command(arguments=command), options=_options(options))
    except (TypeError, ValueError) as error:
        raise _unsendable(error) from error


def inference_task(arguments: Mapping[str, Any], options: Mapping[str, Any]) -> pb.Task:
    """A task that asks a model. Raises as `command_task`."""
    try:
        return pb.Task(inference=pb.Inference(**arguments), options=_options(options))
    except (TypeError, ValueError) as error:
        raise _unsendable(error) from error


def _unsendable(error: Exception) -> InvalidInput:
    if isinstance(error, InvalidInput):
        return error
    return InvalidInput("the task cannot be sent", why=str(error), next_step="check the types of its arguments")


def _options(options: Mapping[str, Any]) -> pb.Options:
    unknown = [name for name in options if name not in OPTIONS]
    if unknown:
        raise InvalidInput(f"option {unknown[0]!r} cannot be sent", next_step=f"take of: {', '.join(OPTIONS)}")
    given = {name: value for name, value in options.items() if value is not None}
    if "metadata" in given:
        given["metadata"] = {str(name): str(value) for name, value in given["metadata"].items()}
    return pb.Options(**given)


def read_options(message: pb.Options) -> dict[str, Any]:
    """The options that were given, as keywords of `JobOptions`."""
    given: dict[str, Any] = {
        "priority": message.priority,
        "resources": dict(message.resources),
        "retries": message.retries,
        "check": message.check,
        "metadata": dict(message.metadata),
    }
    if message.HasField("timeout"):
        given["timeout"] = message.timeout
    if message.backend:
        given["backend"] = message.backend
    return given


def read_inference(message: pb.Inference) -> dict[str, Any]:
    """The arguments that were given, as keywords of a runtime's `run_inference`."""
    given: dict[str, Any] = {"model": message.model, "prompt": message.prompt}
    for name in ("n_predict", "ctx_size", "temperature"):
        if message.HasField(name):
            given[name] = getattr(message, name)
    return given


def result(launched: LaunchResult) -> pb.Result:
    """A result to be sent; metadata become text."""
    facts = launched.as_dict()
    facts["metadata"] = {str(name): str(value) for name, value in launched.metadata.items()}
    return pb.Result(**facts)


def read_result(message: pb.Result) -> LaunchResult:
    """A result that came."""
    return LaunchResult(
        command=tuple(message.command),
        returncode=message.returncode,
        stdout=message.stdout,
        stderr=message.stderr,
        started_at=message.started_at,
        completed_at=message.completed_at,
        duration=message.duration,
        backend=message.backend,
        attempts=message.attempts,
        fallback_used=message.fallback_used,
        stdout_cut=message.stdout_cut,
        stderr_cut=message.stderr_cut,
        metadata=dict(message.metadata),
    )


def moment(event: StreamEvent) -> pb.Moment:
    """An event to be sent."""
    if event.result is not None:
        return pb.Moment(completed=result(event.result))
    if event.kind == "started":
        return pb.Moment(started=pb.Started())
    source = pb.Line.SOURCE_STDOUT if event.kind == "stdout" else pb.Line.SOURCE_STDERR
    return pb.Moment(line=pb.Line(source=source, text=event.text))


def read_moment(message: pb.Moment) -> StreamEvent:
    """An event that came."""
    if message.HasField("completed"):
        return StreamEvent("completed", result=read_result(message.completed))
    if message.HasField("started"):
        return StreamEvent("started")
    return StreamEvent("stdout" if message.line.source == pb.Line.SOURCE_STDOUT else "stderr", message.line.text)
