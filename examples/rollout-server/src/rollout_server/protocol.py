"""What trainers send, and what they get."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field

_ROLES = {"system", "developer", "user", "assistant", "tool", "function"}


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("it is blank")
    return text


def _address(text: str) -> str:
    """`scheme://host[:port][/path]`: where `/v1/chat/completions` is below."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it is no address that begins with http:// or https://")
    if parts.username is not None or parts.query or parts.fragment or parts.port == 0:
        raise ValueError("it has more than a host, a port and a path")
    if not text.isascii() or any(character <= " " for character in text):
        raise ValueError("it has characters that no address has")
    return text.rstrip("/")


def _message(message: dict[str, Any]) -> dict[str, Any]:
    if message.get("role") not in _ROLES:
        raise ValueError(f"its role is none of {', '.join(sorted(_ROLES))}")
    return message


def _name(text: str) -> str:
    """One of the hub's: it becomes a part of paths."""
    if ".." in text or text.startswith("/"):
        raise ValueError("it is no name")
    return text


Message = Annotated[dict[str, Any], AfterValidator(_message)]
_Name = Annotated[str, Field(max_length=256, pattern=r"^[A-Za-z0-9_./-]+$"), AfterValidator(_name)]


class Sampling(BaseModel):
    """Sent along with each turn, with whatever else the trainer's engine knows."""

    model_config = ConfigDict(extra="allow")
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(ge=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=32768)] = 512
    stop: str | list[str] | None = None
    logprobs: bool = True


class Rollout(BaseModel):
    """A rollout that is asked for."""

    rollout_id: Annotated[str, Field(max_length=256), AfterValidator(_said)]
    server_url: Annotated[str, Field(max_length=2048), AfterValidator(_address)]
    messages: Annotated[list[Message], Field(min_length=1)]
    sampling_params: Annotated[
        Sampling, Field(validation_alias=AliasChoices("sampling_params", "completion_params"))
    ] = Sampling()
    max_turns: Annotated[int, Field(ge=1, le=100)] = 10
    max_tokens_total: Annotated[int, Field(ge=1, le=1_000_000)] = 8192  # of the model's own
    # Sent back with each callback. What no header can hold is refused, and never repeated.
    callback_api_key: Annotated[
        str | None,
        Field(
            max_length=4096,
            pattern=r"^[!-~]*$",
            repr=False,
            validation_alias=AliasChoices("callback_api_key", "api_key"),
        ),
    ] = None
    # With it, what was added between two turns is masked.
    tokenizer_name: _Name | None = None
    tokenizer_revision: _Name | None = None
    metadata: dict[str, Any] = {}


class Measured(BaseModel):
    """What a rollout took: milliseconds, calls, tokens."""

    total_latency_ms: float = 0.0
    llm_latency_ms: float = 0.0
    tool_latency_ms: float = 0.0
    num_llm_calls: int = 0
    num_tool_calls: int = 0
    prompt_tokens: int = 0
    response_tokens: int = 0
    max_context_tokens: int = 0


class Ended(BaseModel):
    """How a rollout ended. What a trainer is told of an error is general; the log has the rest."""

    rollout_id: str
    status: Literal["COMPLETED", "ERROR"]
    final_messages: list[dict[str, Any]] = []
    finish_reason: str | None = None
    error_message: str | None = None
    metrics: Measured
    extra_fields: dict[str, Any] = {}
