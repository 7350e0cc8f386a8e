"""Judging a canary by what its users saw. Pure: no clock, no file, no network."""

from .seen import PACE_SECONDS, Lane, Seen, Tokens
from .sketch import Sketch

__all__ = ["PACE_SECONDS", "Lane", "Seen", "Sketch", "Tokens"]
