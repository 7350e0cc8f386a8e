"""Telemetry events as structured log lines: one JSON object each, on stderr unless told otherwise."""

from __future__ import annotations

import sys
from typing import TextIO

import structlog

from bitnet.telemetry import Event, Sink


def json_log_sink(stream: TextIO | None = None) -> Sink:
    """A sink that writes each event with its level, time (ISO 8601, UTC) and fields."""
    logger = structlog.wrap_logger(
        structlog.WriteLogger(stream or sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.BoundLogger,
    )

    def write(event: Event) -> None:
        serious = event.fields.get("outcome", "ok") != "ok" or event.name in _WARNINGS
        (logger.warning if serious else logger.info)(event.name, **event.fields)

    return write


_WARNINGS = frozenset({"launch.refused", "launch.retried", "launch.warning", "breaker.opened"})
