"""What an API server warns of in answers that it gives all the same: a profile of pods, a policy, an old version.

lightkube passes none of it on (RFC 7234, "Warning"; Kubernetes, "Warning: helpful warnings ahead").
"""

from __future__ import annotations

import re
import threading

import httpx2
import lightkube

_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')


class Heard:
    """Of one client, whose requests may be several at once."""

    def __init__(self) -> None:
        self._last = threading.local()

    def listen(self, client: lightkube.Client) -> lightkube.Client:
        client._client._client.event_hooks = {"response": [self._hear]}
        return client

    @property
    def last(self) -> tuple[str, ...]:
        """In the last answer to this thread."""
        return getattr(self._last, "said", ())

    def _hear(self, response: httpx2.Response) -> None:
        said = _WARNING.findall(", ".join(response.headers.get_list("Warning")))
        self._last.said = tuple(re.sub(r"\\(.)", r"\1", text) for text in said)
