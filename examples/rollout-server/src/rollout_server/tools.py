"""What a model may call. Yours go here: a function with typed parameters, and a line in TOOLS."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import structlog

_log = structlog.get_logger(__name__)


def add(a: float, b: float) -> float:
    """Add two numbers"""
    return a + b


def subtract(a: float, b: float) -> float:
    """Subtract the second number from the first"""
    return a - b


def multiply(a: float, b: float) -> float:
    """Multiply two numbers"""
    return a * b


def divide(a: float, b: float) -> float:
    """Divide the first number by the second"""
    return a / b


TOOLS: dict[str, Callable[..., float]] = {tool.__name__: tool for tool in (add, subtract, multiply, divide)}


def described() -> list[dict[str, Any]]:
    """The tools as a model is told of them."""
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": tool.__doc__,
                "parameters": {
                    "type": "object",
                    "properties": {parameter: {"type": "number"} for parameter in inspect.signature(tool).parameters},
                    "required": list(inspect.signature(tool).parameters),
                },
            },
        }
        for name, tool in TOOLS.items()
    ]


def call(asked: dict[str, Any]) -> dict[str, Any]:
    """The message with what a call gave. A model that calls wrongly is told so, and may try again."""
    function = asked.get("function") or {}
    name, given = str(function.get("name")), function.get("arguments") or {}
    try:
        arguments = json.loads(given) if isinstance(given, str) else given
        numbers = {key: value for key, value in arguments.items() if isinstance(value, int | float)}
        content = str(TOOLS[name](**numbers))
    except KeyError:
        content = f"Error: there is no tool of that name; there are {', '.join(TOOLS)}"
    except (AttributeError, TypeError, ValueError, ArithmeticError) as error:
        _log.info("a tool was called wrongly", tool=name, error=str(error))
        content = f"Error: {name} takes numbers as {', '.join(inspect.signature(TOOLS[name]).parameters)}"
        if isinstance(error, ArithmeticError):
            content = "Error: it has no result"
    return {"role": "tool", "content": content, "tool_call_id": str(asked.get("id", ""))}
