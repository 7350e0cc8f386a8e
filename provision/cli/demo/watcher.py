"""Somebody who uses the service all the time, and notices everything."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections import Counter

_PAUSE_SECONDS = 0.02
_PATIENCE_SECONDS = 30.0


class Watcher:
    """Asks `url` again and again until it is left; counts the answers by what they say, and what failed."""

    def __init__(self, url: str) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._url = url
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_PAUSE_SECONDS):
            try:
                self.answers[fetch(self._url)] += 1
            except (OSError, urllib.error.URLError) as error:
                self.failures.append(str(error))


def fetch(url: str) -> str:
    """What `url` answers, as text."""
    with urllib.request.urlopen(url, timeout=_PATIENCE_SECONDS) as answer:  # noqa: S310  (our own loopback address)
        return str(answer.read().decode(errors="replace"))
