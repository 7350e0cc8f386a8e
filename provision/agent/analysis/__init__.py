"""Judging a canary by what its users saw. Pure: no clock, no file, no network."""

from .seen import PACE_SECONDS, Lane, Seen, Tokens
from .sketch import Sketch
from .steps import Decision, Move, decide, forecast
from .verdict import Finding, Verdict

__all__ = [
    "PACE_SECONDS",
    "Decision",
    "Finding",
    "Lane",
    "Move",
    "Seen",
    "Sketch",
    "Tokens",
    "Verdict",
    "decide",
    "forecast",
]
