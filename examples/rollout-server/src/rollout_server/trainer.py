"""Callbacks to a trainer, with its key, over connections that all rollouts share."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from typing import Any

import certifi
import httpcore

from rollout_server.metrics import LLM_CALLS
from rollout_server.networks import Checked
from rollout_server.settings import Settings

LONGEST = 32 << 20  # bytes of an answer, or of a request: the longest conversation, with each token's probabilities


class Refused(Exception):
    """A trainer answered with an error; the message has what it said, and is for the log alone."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"HTTP {status}: {body[:500].decode(errors='replace')}")
        self.status = status


class NotUnderstood(Exception):
    """A trainer's answer is no completion."""


def connections(settings: Settings) -> httpcore.AsyncConnectionPool:
    """As many as there may be rollouts, each of which asks one thing at a time."""
    trusted = ssl.create_default_context()  # SSL_CERT_FILE: a certificate authority of your own
    if not os.environ.get("SSL_CERT_FILE") and not os.environ.get("SSL_CERT_DIR"):
        trusted.load_verify_locations(certifi.where())
    return httpcore.AsyncConnectionPool(
        ssl_context=trusted,
        max_connections=settings.rollouts,
        max_keepalive_connections=20,
        keepalive_expiry=5,
        network_backend=Checked(settings.callbacks),
    )


class Trainer:
    """The one that a rollout belongs to."""

    def __init__(self, pool: httpcore.AsyncConnectionPool, url: str, key: str, timeout: float) -> None:
        self._pool, self._url = pool, url
        self._headers = [("Content-Type", "application/json"), ("Accept", "application/json")]
        if key:
            self._headers.append(("Authorization", f"Bearer {key}"))
        self._timeout = dict.fromkeys(("connect", "read", "write", "pool"), timeout)

    async def _post(self, path: str, body: dict[str, Any]) -> bytes:
        asked = self._pool.stream(
            "POST",
            f"{self._url}{path}",
            headers=self._headers,
            content=json.dumps(body).encode(),
            extensions={"timeout": self._timeout},
        )
        content = bytearray()
        try:
            # A trainer that sends a byte now and then gets no more time than one that is silent.
            async with asyncio.timeout(self._timeout["read"]), asked as answer:
                async for chunk in answer.aiter_stream():
                    content += chunk
                    if len(content) > LONGEST:
                        raise NotUnderstood(f"it has more than {LONGEST >> 20} MiB")
        except TimeoutError as error:
            raise httpcore.ReadTimeout("it did not come to its end in time") from error
        if not 200 <= answer.status < 300:
            raise Refused(answer.status, bytes(content))
        return bytes(content)

    async def complete(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The next turn, with `message` and `finish_reason`, and how many tokens were read and made.

        Raises:
            Refused, NotUnderstood, NotAllowed, or what httpcore raises.
        """
        LLM_CALLS.inc()
        content = await self._post("/v1/chat/completions", asked)
        try:
            answer = json.loads(content)
            choice, usage = answer["choices"][0], answer.get("usage") or {}
            made, read = answer.get("token_ids"), answer.get("prompt_token_ids")
            return {
                "message": dict(choice["message"]),
                "finish_reason": str(choice.get("finish_reason") or "stop"),
                "made": len(made) if made is not None else int(usage.get("completion_tokens") or 0),
                "read": len(read) if read is not None else int(usage.get("prompt_tokens") or 0),
                "exact": made is not None,
            }
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise NotUnderstood(f"{type(error).__name__}: {error}") from error

    async def told(self, ended: dict[str, Any]) -> None:
        """Say how a rollout ended.

        Raises:
            As `complete`.
        """
        await self._post("/v1/rollout/completed", ended)
