"""`bench`: the service is as fast as declared, and as what stable measured on the same host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from provision.project.checks.kind import Asked, Kind
from provision.project.fault import Fault, Path
from provision.project.section import Section
from provision.project.values import Number, Seconds, Whole

if TYPE_CHECKING:
    from provision.agent.checks.bench import BenchCheck
    from provision.project.checks import Check

_SECONDS = 600.0  # a model of many gigabytes on a few cores takes minutes for its rounds


def _part(value: object) -> object:
    percent = re.fullmatch(r"([0-9]{1,2}(?:\.[0-9])?)%", value) if isinstance(value, str) else None
    if percent is None:
        raise ValueError('expected a share such as "10%".')
    return float(percent[1]) / 100


_Part = Annotated[
    float,
    BeforeValidator(_part),
    Field(gt=0, lt=1, strict=True),
    WithJsonSchema({"type": "string", "examples": ["10%"]}),
]


class Measure(Section):
    """How a service is measured, and what it has to reach."""

    prompt: Whole = Field(default=512, ge=1, le=1 << 20)
    """Tokens of each request's prompt, as nearly as words make them."""
    generate: Whole = Field(default=128, ge=2, le=1 << 16)
    """Tokens that each request asks for."""
    parallel: Whole = Field(default=1, ge=1, le=256)
    """Requests at once."""
    ttft_p95: Seconds | None = None
    """The longest time to the first token, for 95 of 100 requests."""
    tokens_per_second: Number = Field(default=0.0, ge=0)
    """The least that all of them together generate."""
    regression: _Part | None = None
    """How much less than what stable measured on the same host: "10%"."""


class Bench(Section):
    bench: Measure | None = None
    """How fast the service is, measured after its other checks and before anybody depends on it: as declared here, and
    compared with what stable measured on the same host."""


def _faults(path: Path, _: Bench, has_port: bool | None) -> Iterator[Fault]:
    where = (*path, "bench")
    if has_port is None:
        yield Fault(where, "a service is measured.", "Move the check to that service.")
    elif not has_port:
        yield Fault(where, "a bench needs a port to ask.", "Add one to the service, such as port = 8000.")


def _document(check: Check, asked: Asked) -> BenchCheck:
    told = check.bench
    assert told is not None  # noqa: S101 (it is of this kind)
    seconds = check.timeout if "timeout" in check.model_fields_set else _SECONDS
    return {
        **asked.document("bench", f"{told.prompt}+{told.generate} x{told.parallel}"),
        "timeout": seconds,
        "attempt_timeout": seconds,
        "passes": 1,
        "url": asked.address(),
        "token": asked.token,
        "prompt": told.prompt,
        "generate": told.generate,
        "parallel": told.parallel,
        "ttft_p95": told.ttft_p95 or 0.0,
        "tokens_per_second": told.tokens_per_second,
        "regression": told.regression or 0.0,
    }


# Whoever uses what serves already is not disturbed by it.
KIND = Kind("bench", _document, _faults, asks_more=lambda _: True, sends_token=True, at_start=True)
