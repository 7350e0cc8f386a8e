"""The service's log: a JSON object a line, of what libraries say as well. Prompts and answers are not in it."""

from __future__ import annotations

import logging
import os
import sys

import structlog

# What they tell of each request is told here already, and litellm's would have what was sent.
_QUIET = ("httpx", "LiteLLM", "uvicorn.access", "mcp")


def configure() -> None:
    """For the whole process; RLM_LOG_LEVEL says how much."""
    level = logging.getLevelNamesMapping()[os.environ.get("RLM_LOG_LEVEL", "INFO").upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
