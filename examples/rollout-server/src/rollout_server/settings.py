"""What the environment says, read once."""

from __future__ import annotations

import os
from dataclasses import dataclass

from rollout_server.networks import PRIVATE, Callbacks
from rollout_server.tokens import Unavailable, declared

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class Unusable(Exception):
    """A variable says what can't be; the message says which, and what it may say."""


@dataclass(frozen=True)
class Settings:
    """What a server is told.

    Attributes:
        host, port: where it listens (ROLLOUT_SERVER_HOST, ROLLOUT_SERVER_PORT).
        api_key: what a trainer sends (ROLLOUT_API_KEY); without one, loopback and private networks alone are answered.
        callback_key: what a trainer gets that brings no key of its own (ROLLOUT_CALLBACK_KEY).
        callbacks: where rollouts may call back to (ROLLOUT_CALLBACKS: networks, or `any`; private ones by default).
        timeout: seconds that a trainer's answer may take (HTTP_CLIENT_TIMEOUT).
        rollouts: how many there may be at once (MAX_CONCURRENT_ROLLOUTS).
        tokenizers: commits by name (TOKENIZERS); "" where only the name is declared.
        kept: how many of them stay in memory (TOKENIZER_CACHE_SIZE).
        level: from which on lines are logged (LOG_LEVEL).
    """

    host: str
    port: int
    api_key: str
    callback_key: str
    callbacks: Callbacks
    timeout: float
    rollouts: int
    tokenizers: dict[str, str]
    kept: int
    level: str


def read() -> Settings:
    """The settings of this process.

    Raises:
        Unusable: one of them can't be.
    """

    environ = os.environ

    def number(name: str, default: str, low: float, high: float) -> float:
        text = environ.get(name) or default
        try:
            value = float(text)
        except ValueError:
            value = -1
        if not low <= value <= high:
            raise Unusable(f"{name}: expected a number from {low:g} to {high:g}, got {text!r}")
        return value

    named = environ.get("ROLLOUT_CALLBACKS", "")
    callback_key = environ.get("ROLLOUT_CALLBACK_KEY", "")
    if callback_key and named.split() in ([], ["any"]):
        raise Unusable("ROLLOUT_CALLBACK_KEY: name the networks that it may be sent to in ROLLOUT_CALLBACKS")
    try:
        callbacks = Callbacks(named) if named.split() else Callbacks(" ".join(map(str, PRIVATE)))
        tokenizers = declared()
    except ValueError as error:
        raise Unusable(f"ROLLOUT_CALLBACKS: {error}; networks such as 10.20.0.0/16, or any") from None
    except Unavailable as error:
        raise Unusable(str(error)) from None
    level = (environ.get("LOG_LEVEL") or "INFO").upper()
    if level not in _LEVELS:
        raise Unusable(f"LOG_LEVEL: expected one of {', '.join(_LEVELS)}, got {level!r}")
    return Settings(
        host=environ.get("ROLLOUT_SERVER_HOST") or "0.0.0.0",
        port=int(number("ROLLOUT_SERVER_PORT", "9000", 0, 65535)),
        api_key=environ.get("ROLLOUT_API_KEY", ""),
        callback_key=callback_key,
        callbacks=callbacks,
        timeout=number("HTTP_CLIENT_TIMEOUT", "300", 0.1, 86400),
        rollouts=int(number("MAX_CONCURRENT_ROLLOUTS", "50", 1, 10000)),
        tokenizers=tokenizers,
        kept=int(number("TOKENIZER_CACHE_SIZE", "5", 1, 1000)),
        level=level,
    )
