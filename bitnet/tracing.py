"""OpenTelemetry spans where a program set OpenTelemetry up, and nothing at all where it did not.

The package is optional and its import is not free, so it is looked at only when the program has imported it itself,
or configured it through its environment variable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any


def _in_use() -> bool:
    return "opentelemetry.trace" in sys.modules or "OTEL_PYTHON_TRACER_PROVIDER" in os.environ


class Span:
    """The part of a span that launches use; does nothing where there is none."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def note(self, **facts: str | float) -> None:
        """Attach facts, under the prefix `bitnet.`."""
        if self._span is not None:
            self._span.set_attributes({f"bitnet.{name}": fact for name, fact in facts.items()})

    def carrier(self) -> dict[str, str]:
        """The context of this span as headers (W3C `traceparent`), for a process that continues the trace."""
        headers: dict[str, str] = {}
        if self._span is not None:
            from opentelemetry import propagate, trace

            propagate.inject(headers, context=trace.set_span_in_context(self._span))
        return headers


_NO_SPAN = nullcontext(Span())


def span(name: str, *, parent: Mapping[str, str] | None = None, **facts: str | float) -> AbstractContextManager[Span]:
    """A span around the block; an exception that leaves it is recorded, with the status "error".

    It is not made the current one: the block may be a generator, which ends in another context than it began in.

    Args:
        name: what happens.
        parent: headers from another process (`Span.carrier`); the current span is the parent where there are none.
        facts: attributes, under the prefix `bitnet.`.
    """
    return _recorded(name, parent, facts) if _in_use() else _NO_SPAN


@contextmanager
def _recorded(name: str, parent: Mapping[str, str] | None, facts: Mapping[str, str | float]) -> Iterator[Span]:
    from opentelemetry import propagate, trace

    current = trace.get_tracer("bitnet").start_span(
        name,
        context=propagate.extract(dict(parent)) if parent else None,
        attributes={f"bitnet.{key}": fact for key, fact in facts.items()},
    )
    try:
        yield Span(current)
    except BaseException as error:
        current.record_exception(error)
        current.set_status(trace.StatusCode.ERROR, str(error))
        raise
    finally:
        current.end()
