"""`completion`: the model on the service's own port predicts tokens, and fast enough."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from provision.project.checks.kind import Asked, Kind
from provision.project.fault import Fault, Path
from provision.project.section import Section
from provision.project.values import Number, Text, Whole

if TYPE_CHECKING:
    from provision.agent.checks.completion import CompletionCheck


class Completion(Section):
    completion: Text | None = None
    """A prompt for the llama-server on the service's port; tokens must come back."""
    tokens: Whole = Field(default=8, ge=1)
    """completion: how many tokens to ask for."""
    min_tokens_per_second: Number = Field(default=0.0, ge=0)
    """completion: slower than this does not pass."""


def _faults(path: Path, _: Completion, has_port: bool | None) -> Iterator[Fault]:
    where = (*path, "completion")
    if has_port is None:
        yield Fault(where, "a completion is asked of a service.", "Move the check to that service.")
    elif not has_port:
        yield Fault(where, "a completion needs a port to ask.", "Add one to the service, such as port = 8000.")


def _document(check: Completion, asked: Asked) -> CompletionCheck:
    assert check.completion is not None  # noqa: S101 (it is of this kind)
    return {
        **asked.document("completion"),
        "url": asked.address(),
        "token": asked.token,
        "prompt": asked.text(check.completion, "completion"),
        "tokens": check.tokens,
        "min_tokens_per_second": check.min_tokens_per_second,
    }


KIND = Kind(
    "completion",
    _document,
    _faults,
    asks_more=lambda _: True,
    sends_token=True,
    keys=("tokens", "min_tokens_per_second"),
)
