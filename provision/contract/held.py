"""What requests waited for while a program took another's place, in numbers and in words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .events import Held


def seconds(held: Held) -> float:
    """As long as anybody waited at most."""
    return round(held["drain"] + held["stop"] + held["load"] + held["proof"], 3)


def sentence(held: Held) -> str:
    """How many waited, how long, for what; and who was sent away."""
    parts = {"drain": held["drain"], "stop": held["stop"], "load": held["load"], "proof": held["proof"]}
    spent = ", ".join(f"{part} {value:.1f} s" for part, value in parts.items())
    words = [f"{_requests(held['requests'])} waited, {seconds(held):.1f} s at most: {spent}"]
    if held["beyond"]:
        words.append(f"{_requests(held['beyond'])} beyond hold_requests got 503")
    if held["late"]:
        words.append(f"{_requests(held['late'])} got 503 after all of hold")
    return "; ".join(words)


def _requests(number: int) -> str:
    return "1 request" if number == 1 else f"{number} requests"
