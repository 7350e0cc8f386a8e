"""The model server, as the rest of the stack talks to it."""

import json
import os
import urllib.error
import urllib.request

_URL = os.environ.get("LLAMA_URL", "http://127.0.0.1:8081")
_SECONDS = 120


class ModelUnavailable(Exception):
    """The model server does not answer, or refuses."""


def is_up() -> bool:
    """Whether it has its model loaded."""
    try:
        with urllib.request.urlopen(f"{_URL}/health", timeout=2) as answer:  # noqa: S310  (our own address)
            return bool(answer.status == 200)
    except OSError:
        return False


def complete(prompt: str, tokens: int) -> str:
    """`tokens` more tokens after `prompt`.

    Raises:
        ModelUnavailable: it does not answer, or refuses.
    """
    body = json.dumps({"prompt": prompt, "n_predict": tokens}).encode()
    request = urllib.request.Request(f"{_URL}/completion", body, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310
            return str(json.load(answer)["content"])
    except (OSError, ValueError, KeyError) as error:
        raise ModelUnavailable(str(error)) from error
