"""Users who never stop: short requests to the web service, and streams of tokens. They notice everything."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_PAUSE_SECONDS = 0.02
_REST_SECONDS = 0.4  # between two streams: a machine that is busy with the demo has other work
_PATIENCE_SECONDS = 30.0
_TOKENS = 128  # of one stream


@dataclass
class Met:
    """What users met."""

    answers: Counter[str] = field(default_factory=Counter)  # short ones, by what they say
    streams: int = 0  # that came to their end
    failures: list[str] = field(default_factory=list)
    longest: float = 0.0  # seconds that a short request, or the first token of a stream, took to come

    @property
    def requests(self) -> int:
        """All of them."""
        return self.answers.total() + self.streams + len(self.failures)

    def add(self, other: Met) -> None:
        """Count what others met, too."""
        self.answers += other.answers
        self.streams += other.streams
        self.failures += other.failures
        self.longest = max(self.longest, other.longest)


class Watcher:
    """Asks the service at `web`, and the model at `model` for tokens, again and again until it is left."""

    def __init__(self, web: str, model: str) -> None:
        self.met = Met()
        self._web, self._model = web, model
        self._done = threading.Event()
        self._counting = threading.Lock()
        asked = ((self._short, _PAUSE_SECONDS), (self._stream, _REST_SECONDS))
        self._threads = [threading.Thread(target=self._watch, args=each) for each in asked]

    def __enter__(self) -> Watcher:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, ask: Callable[[], Met], pause: float) -> None:
        while not self._done.wait(pause):
            try:
                met = ask()
            except (OSError, ValueError) as error:
                met = Met(failures=[str(error)])
            with self._counting:
                self.met.add(met)

    def _short(self) -> Met:
        began = time.monotonic()
        text = fetch(self._web)
        return Met(Counter([text]), longest=time.monotonic() - began)

    def _stream(self) -> Met:
        """A whole stream of tokens, as llama-server tells of them; one that was cut has no last word.

        Raises:
            OSError, ValueError: it failed.
        """
        asked = {"prompt": "Once upon a time", "n_predict": _TOKENS, "ignore_eos": True, "stream": True}
        request = urllib.request.Request(  # noqa: S310  (our own loopback address)
            f"{self._model}/completion", json.dumps(asked).encode(), {"Content-Type": "application/json"}
        )
        began, first, last = time.monotonic(), 0.0, {}
        with urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS) as answer:  # noqa: S310
            for line in answer:
                if line.startswith(b"data: "):
                    first = first or time.monotonic() - began
                    last = json.loads(line[len(b"data: ") :])
        if not last.get("stop") or last.get("tokens_predicted") != _TOKENS:
            raise ValueError("a stream of tokens was cut")
        return Met(streams=1, longest=first)


def fetch(url: str, headers: Mapping[str, str] | None = None) -> str:
    """What `url` answers, as text."""
    request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310  (our own loopback address)
    with urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS) as answer:  # noqa: S310
        return str(answer.read().decode(errors="replace"))
