"""Requests that are sent side by side, and what each of them met.

They speak `POST /v1/completions` with `stream`, which llama-server, vLLM and SGLang have alike. Each prompt begins with
words of its own, so that no cache of prompts has it. The first token is the first event that has text in it.
"""

from __future__ import annotations

import json
import math
import random
import threading
import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from .check import Failed

if TYPE_CHECKING:
    from ...contract.bench import Rates
    from .check import Streams

# Common in English, so that most tokenizers have about one token for each.
_COMMON = (
    "the of and to in that it was for on are with as his they at be this from have or by one had not but what all were "
    "when we there can an your which their said if do will each about how up out them then she many some so these would"
)
_WORDS = _COMMON.split()
_WATCH_SECONDS = 0.2
_DONE = b"[DONE]"


class Met(NamedTuple):
    """One request: what it met, by `time.monotonic`."""

    sent: float
    first: float
    last: float
    tokens: int
    prompt: int  # tokens of its prompt; 0 where nobody says


class Load:
    """A service that is asked.

    Args:
        url: of the service, without a path.
        until: by `time.monotonic`, when all of it is over.
    """

    def __init__(self, reach: Streams, url: str, prompt: int, until: float) -> None:
        self._reach = reach
        self._url = url.rstrip("/")
        self._until = until
        self._chance = random.Random()  # noqa: S311 (words, no secrets)
        self._model = self._served()
        trial = self._ask(len(_WORDS), 1)  # says how many tokens a word has
        each = trial.prompt / len(_WORDS) if trial.prompt else 1.3  # of English words, with most tokenizers
        self._words = max(1, round(prompt / each))

    def round(self, parallel: int, generate: int) -> List[Met]:
        """That many requests at once, each with that many tokens.

        Raises:
            Failed: one was not answered.
        """
        met: List[Met] = []
        failed: List[Failed] = []

        def one() -> None:
            try:
                met.append(self._ask(self._words, generate))
            except Failed as failure:
                failed.append(failure)

        threads = [threading.Thread(target=one, daemon=True) for _ in range(parallel)]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_WATCH_SECONDS)
                self._reach.watch()
        if failed:
            raise failed[0]
        return met

    def _served(self) -> str:
        """What the service calls its model; some demand to be told."""
        try:
            models = json.loads(self._reach.ask(self._url + "/v1/models", self._left()).text)["data"]
            return str(models[0]["id"])
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            return ""

    def _left(self) -> float:
        return max(self._until - time.monotonic(), 0.1)

    def _prompt(self, words: int) -> str:
        """All words in turn, in another order each time: as many words have about as many tokens then."""
        chosen: List[str] = []
        while len(chosen) < words:
            chosen += self._chance.sample(_WORDS, min(len(_WORDS), words - len(chosen)))
        return " ".join(chosen)

    def _ask(self, words: int, generate: int) -> Met:
        body = {
            "prompt": self._prompt(words),
            "max_tokens": generate,
            "temperature": 0.0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
            **({"model": self._model} if self._model else {}),
        }
        sent, first, last, tokens, usage = time.monotonic(), 0.0, 0.0, 0, {}
        lines = self._reach.stream(self._url + "/v1/completions", self._left(), json.dumps(body).encode("utf-8"))
        for at, said in _events(lines):
            choices = said.get("choices")
            if isinstance(said.get("usage"), dict):
                usage = said["usage"]
            if isinstance(choices, list) and choices:
                tokens, last = tokens + 1, at
                if not first and isinstance(choices[0], dict) and choices[0].get("text"):
                    first = at
        counted, prompt = _count(usage.get("completion_tokens")), _count(usage.get("prompt_tokens"))
        if not tokens:
            raise Failed("the model predicted no token")
        return Met(sent, first or last, last, counted or tokens, prompt or 0)


def _count(value: object) -> Optional[int]:
    return value if isinstance(value, int) and 0 < value < 1 << 32 else None


def _events(lines: Iterator[bytes]) -> Iterator[Tuple[float, Dict[str, Any]]]:
    """Server-sent events that hold a JSON object, with when each came (HTML standard, 9.2)."""
    for line in lines:
        now = time.monotonic()
        name, _, value = line.partition(b":")
        if name != b"data" or value.strip() == _DONE:
            continue
        try:
            said = json.loads(value)
        except (ValueError, RecursionError):
            raise Failed(f"an event is no JSON: {value[:80]!r}") from None
        if isinstance(said, dict):
            if "error" in said:
                raise Failed(f"it says amid its answer: {str(said['error'])[:120]}")
            yield now, said


def rates(rounds: List[List[Met]]) -> Rates:
    """What these rounds show together."""
    met = [each for round_ in rounds for each in round_]
    waits = sorted(each.first - each.sent for each in met)
    speeds = sorted((each.tokens - 1) / max(each.last - each.first, 1e-6) for each in met if each.tokens > 1)
    generating = sum(max(m.last for m in round_) - min(m.first for m in round_) for round_ in rounds)
    whole = sum(max(m.last for m in round_) - min(m.sent for m in round_) for round_ in rounds)
    generated = sum(each.tokens for each in met)
    after_first = generated - len(rounds)  # what came since the first token of each round
    return {
        "requests": len(met),
        "prompt_tokens": max(each.prompt for each in met),
        "generated": generated,
        "ttft_p50": round(share(waits, 0.5), 4),
        "ttft_p95": round(share(waits, 0.95), 4),
        "tokens_per_second": round(after_first / max(generating, 1e-6), 2),
        "tokens_per_second_each": round(share(speeds, 0.5), 2) if speeds else 0.0,
        "seconds": round(whole, 3),
    }


def share(sorted_: List[float], part: float) -> float:
    """The smallest value that this part of all is not above."""
    return sorted_[max(0, math.ceil(part * len(sorted_)) - 1)]
