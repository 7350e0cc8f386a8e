"""The tokenizers of the models that are trained: pinned, fetched ahead, kept in memory.

TOKENIZERS names them, `owner/model@COMMIT` each. A commit, no branch: every host counts alike, and nobody changes what
runs here from outside.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from huggingface_hub import snapshot_download

# Off unless told otherwise: with it, a tokenizer may bring Python code of its own, which then runs here.
TRUST = os.environ.get("TOKENIZER_TRUST_REMOTE_CODE", "").lower() in ("1", "true", "yes")
# What tokenizers consist of. No weights, and no code unless it is trusted.
FILES = ["tokenizer*", "vocab*", "merges*", "*.model", "*.tiktoken", "special_tokens_map.json", "added_tokens.json"]
FILES += ["chat_template*", "config.json", *(["*.py"] if TRUST else [])]
_PINNED = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)@(?P<commit>[0-9a-f]{40})")


class Unavailable(Exception):
    """A tokenizer is not to be had; the message says which, why, and what helps."""


def declared(text: str) -> dict[str, str]:
    """Commits by name.

    Raises:
        Unavailable: one is not pinned.
    """
    found = {entry: _PINNED.fullmatch(entry) for entry in text.split()}
    if wrong := [entry for entry, match in found.items() if match is None]:
        raise Unavailable(f"TOKENIZERS: {wrong[0]!r} is not owner/model@COMMIT with all 40 digits of a commit")
    return {match["name"]: match["commit"] for match in found.values() if match}


def load(name: str, commit: str) -> Any:
    """A tokenizer from HF_HOME; the hub is not asked.

    Raises:
        Unavailable: it is not there, or not whole, or wants to bring code.
    """
    import transformers  # takes a second, which a server without tokenizers need not wait

    try:
        folder = snapshot_download(name, revision=commit, allow_patterns=FILES, local_files_only=True)
        return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=TRUST, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        said = " ".join(str(error).split())[:300]
        raise Unavailable(f"{name}@{commit}: {said}; python -m fetch gets it") from error


class Tokenizers:
    """Those that are declared; as many as TOKENIZER_CACHE_SIZE stay in memory, the one used last for longest."""

    def __init__(self, commits: Mapping[str, str], size: int, load: Callable[[str, str], Any] = load) -> None:
        """All are loaded once, so that one that can't be is known before there is any traffic.

        Raises:
            Unavailable: one can't be.
        """
        self.commits = commits
        self._load = lru_cache(max(1, size))(load)
        for name in reversed(commits):  # the first ones stay
            self._load(name, commits[name])

    def count(self, name: str, messages: list[dict[str, Any]]) -> int:
        """How many tokens `messages` are, as the model `name` is told them."""
        tokenizer = self._load(name, self.commits[name])
        if tokenizer.chat_template:
            text = tokenizer.apply_chat_template(messages, tokenize=False)
        else:
            text = "\n".join(str(message.get("content", "")) for message in messages)
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    @property
    def in_memory(self) -> int:
        return self._load.cache_info().currsize
