from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Task(_message.Message):
    __slots__ = ("command", "inference", "options")
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    command: Command
    inference: Inference
    options: Options
    def __init__(self, command: _Optional[_Union[Command, _Mapping]] = ..., inference: _Optional[_Union[Inference, _Mapping]] = ..., options: _Optional[_Union[Options, _Mapping]] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("arguments",)
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    arguments: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, arguments: _Optional[_Iterable[str]] = ...) -> None: ...

class Inference(_message.Message):
    __slots__ = ("model", "prompt", "n_predict", "ctx_size", "temperature")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    N_PREDICT_FIELD_NUMBER: _ClassVar[int]
    CTX_SIZE_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    model: str
    prompt: str
    n_predict: int
    ctx_size: int
    temperature: float
    def __init__(self, model: _Optional[str] = ..., prompt: _Optional[str] = ..., n_predict: _Optional[int] = ..., ctx_size: _Optional[int] = ..., temperature: _Optional[float] = ...) -> None: ...

class Options(_message.Message):
    __slots__ = ("timeout", "backend", "priority", "resources", "retries", "check", "metadata")
    class ResourcesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    timeout: float
    backend: str
    priority: float
    resources: _containers.ScalarMap[str, float]
    retries: int
    check: bool
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, timeout: _Optional[float] = ..., backend: _Optional[str] = ..., priority: _Optional[float] = ..., resources: _Optional[_Mapping[str, float]] = ..., retries: _Optional[int] = ..., check: bool = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("command", "returncode", "stdout", "stderr", "started_at", "completed_at", "duration", "backend", "attempts", "fallback_used", "stdout_cut", "stderr_cut", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    RETURNCODE_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_AT_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_USED_FIELD_NUMBER: _ClassVar[int]
    STDOUT_CUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_CUT_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    command: _containers.RepeatedScalarFieldContainer[str]
    returncode: int
    stdout: str
    stderr: str
    started_at: float
    completed_at: float
    duration: float
    backend: str
    attempts: int
    fallback_used: bool
    stdout_cut: int
    stderr_cut: int
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, command: _Optional[_Iterable[str]] = ..., returncode: _Optional[int] = ..., stdout: _Optional[str] = ..., stderr: _Optional[str] = ..., started_at: _Optional[float] = ..., completed_at: _Optional[float] = ..., duration: _Optional[float] = ..., backend: _Optional[str] = ..., attempts: _Optional[int] = ..., fallback_used: bool = ..., stdout_cut: _Optional[int] = ..., stderr_cut: _Optional[int] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Moment(_message.Message):
    __slots__ = ("started", "line", "completed")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    started: Started
    line: Line
    completed: Result
    def __init__(self, started: _Optional[_Union[Started, _Mapping]] = ..., line: _Optional[_Union[Line, _Mapping]] = ..., completed: _Optional[_Union[Result, _Mapping]] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Line(_message.Message):
    __slots__ = ("source", "text")
    class Source(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SOURCE_UNSPECIFIED: _ClassVar[Line.Source]
        SOURCE_STDOUT: _ClassVar[Line.Source]
        SOURCE_STDERR: _ClassVar[Line.Source]
    SOURCE_UNSPECIFIED: Line.Source
    SOURCE_STDOUT: Line.Source
    SOURCE_STDERR: Line.Source
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    source: Line.Source
    text: str
    def __init__(self, source: _Optional[_Union[Line.Source, str]] = ..., text: _Optional[str] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("kind", "what", "why", "next_step", "command", "stdout", "stderr", "returncode", "timeout")
    KIND_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    NEXT_STEP_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    RETURNCODE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    kind: str
    what: str
    why: str
    next_step: str
    command: _containers.RepeatedScalarFieldContainer[str]
    stdout: str
    stderr: str
    returncode: int
    timeout: float
    def __init__(self, kind: _Optional[str] = ..., what: _Optional[str] = ..., why: _Optional[str] = ..., next_step: _Optional[str] = ..., command: _Optional[_Iterable[str]] = ..., stdout: _Optional[str] = ..., stderr: _Optional[str] = ..., returncode: _Optional[int] = ..., timeout: _Optional[float] = ...) -> None: ...
