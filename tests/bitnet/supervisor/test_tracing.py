from __future__ import annotations

import subprocess
import sys
from contextlib import aclosing

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bitnet import tracing
from bitnet.errors import RuntimeTimeoutError
from bitnet.supervisor import RuntimeSupervisor
from tests.bitnet.supervisor.programs import PrintingRuntime


def only(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = exporter.get_finished_spans()
    return span


async def test_a_launch_is_a_span(runtime: PrintingRuntime, spans: InMemorySpanExporter) -> None:
    await RuntimeSupervisor(runtime).run_custom(["sh", "-c", "exit 2"], backend="cpu")
    span = only(spans)
    assert span.name == "bitnet.launch"
    assert dict(span.attributes or {}) == {"bitnet.backend": "cpu", "bitnet.returncode": 2, "bitnet.attempts": 1}
    assert span.parent is None


async def test_a_failure_marks_its_span(runtime: PrintingRuntime, spans: InMemorySpanExporter) -> None:
    with pytest.raises(RuntimeTimeoutError):
        await RuntimeSupervisor(runtime).run_custom(["sleep", "60"], timeout=0.05)
    span = only(spans)
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.events[0].name == "exception"


async def test_a_fallback_shows_in_the_span(runtime: PrintingRuntime, spans: InMemorySpanExporter) -> None:
    await RuntimeSupervisor(runtime).run_custom(["false"], fallback=["true"])
    assert (only(spans).attributes or {})["bitnet.fallback"] is True


async def test_a_stream_that_is_left_ends_its_span(runtime: PrintingRuntime, spans: InMemorySpanExporter) -> None:
    async with aclosing(RuntimeSupervisor(runtime).stream(["sleep", "60"])) as events:
        await anext(events)
    assert only(spans).end_time is not None


async def test_a_callers_trace_goes_on_in_the_launch(runtime: PrintingRuntime, spans: InMemorySpanExporter) -> None:
    with tracing.span("caller") as caller:
        carrier = caller.carrier()
    await RuntimeSupervisor(runtime).run_custom(["true"], trace=carrier)
    outer, inner = spans.get_finished_spans()
    assert carrier["traceparent"].split("-")[1] == f"{inner.context.trace_id:032x}"
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id


def test_without_opentelemetry_nothing_of_it_is_imported() -> None:
    code = """
import asyncio, sys
from bitnet.supervisor import RuntimeSupervisor
class Runtime:
    cpu_count, environment, run_inference, run_server = 1, {}, None, None
async def main():
    supervisor = RuntimeSupervisor(Runtime())
    await supervisor.run_custom(["true"])
    async for _ in supervisor.stream(["true"]): pass
asyncio.run(main())
print([name for name in sys.modules if name.split(".")[0] in ("opentelemetry", "grpc", "ray")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
