"""The tokenizers of the models that are trained, as many of them in memory as there is room for.

TOKENIZERS names them, `owner/model@COMMIT` each: every host counts alike, and nobody changes what runs here from
outside. Where TOKENIZER_DOWNLOADS is on, the commit may be left out, and a trainer may name others; those are fetched
at first use, and never bring code.
"""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from typing import Any

import structlog
from huggingface_hub import snapshot_download

_log = structlog.get_logger(__name__)


def _is_on(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() in ("1", "true", "yes")


# Both are off unless told otherwise. With this one a declared tokenizer may bring Python code, which then runs here.
TRUST = _is_on("TOKENIZER_TRUST_REMOTE_CODE")
# With this one, what is not in HF_HOME is asked of the hub when it is first used.
DOWNLOADS = _is_on("TOKENIZER_DOWNLOADS")
# What tokenizers consist of. No weights, and no code unless it is trusted.
_FILES = ["tokenizer*", "vocab*", "merges*", "*.model", "*.tiktoken", "special_tokens_map.json", "added_tokens.json"]
_FILES += ["chat_template*", "config.json"]
_DECLARED = re.compile(r"(?P<name>[\w.-]+(/[\w.-]+)?)(@(?P<commit>[0-9a-f]{40}))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Unavailable(Exception):
    """A tokenizer is not to be had; the message says which, why, and what helps."""


def declared() -> dict[str, str]:
    """What TOKENIZERS names: commits by name; "" where there is none.

    Raises:
        Unavailable: one is not pinned, and has to be.
    """
    found = {entry: _DECLARED.fullmatch(entry) for entry in os.environ.get("TOKENIZERS", "").split()}
    for entry, match in found.items():
        if match is None or not (match["commit"] or DOWNLOADS):
            raise Unavailable(f"TOKENIZERS: {entry!r} is not owner/model@COMMIT with all 40 digits of a commit")
    return {match["name"]: match["commit"] or "" for match in found.values() if match}


def files(*, trusted: bool) -> list[str]:
    """The patterns of what is fetched."""
    return [*_FILES, *(["*.py"] if trusted else [])]


def load(name: str, revision: str, *, trusted: bool, fetch: bool) -> Any:
    """A tokenizer from HF_HOME; the hub is asked for what is not there, where it may be.

    Raises:
        Unavailable: it is not there, or not whole, or wants to bring code.
    """
    import transformers  # takes a second, which a server without tokenizers need not wait

    # What it has to say is a line of the log like all others.
    transformers.logging.disable_default_handler()
    transformers.logging.enable_propagation()
    try:
        folder = snapshot_download(
            name, revision=revision or None, allow_patterns=files(trusted=trusted), local_files_only=not fetch
        )
        return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=trusted, local_files_only=True)
    except Exception as error:  # not the same ones in all versions of these libraries
        said = " ".join(str(error).split())[:300]
        helps = "" if fetch else "; python -m rollout_server.fetch gets it"
        raise Unavailable(f"{name}@{revision}: {said}{helps}") from error


class Tokenizers:
    """As many as TOKENIZER_CACHE_SIZE stay in memory, the one used last for longest. Threads may share it."""

    def __init__(self, commits: dict[str, str], size: int) -> None:
        self.commits = commits
        self._size = size
        self._kept: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._loading: dict[tuple[str, str], threading.Lock] = {}
        self._lock = threading.Lock()
        self._hits = self._misses = 0

    def preload(self) -> None:
        """Load all that are declared, so that one that can't be is known before there is any traffic.

        Raises:
            Unavailable: one can't be.
        """
        for name in reversed(self.commits):  # the first ones stay
            self.get(name, self.revision(name, None))

    def revision(self, name: str, asked: str | None) -> str:
        """Which revision of `name` a trainer gets that asked for `asked`.

        Raises:
            Unavailable: none.
        """
        commit = self.commits.get(name)
        if commit and asked and _COMMIT.fullmatch(asked) and asked != commit:
            raise Unavailable(f"{name} is at another commit in TOKENIZERS")
        if commit:
            return commit
        if not DOWNLOADS:
            raise Unavailable(f"{name} is none of TOKENIZERS, and TOKENIZER_DOWNLOADS is off")
        return asked or "main"

    def get(self, name: str, revision: str) -> Any:
        """It may take as long as the hub does.

        Raises:
            Unavailable: it is not to be had.
        """
        key = (name, revision)
        with self._lock:
            if key in self._kept:
                return self._hit(key)
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:
            with self._lock:
                if key in self._kept:  # by another rollout, meanwhile
                    return self._hit(key)
                self._misses += 1
            try:
                _log.debug("a tokenizer is loaded", tokenizer=name, revision=revision)
                made = load(name, revision, trusted=TRUST and name in self.commits, fetch=DOWNLOADS)
            finally:
                with self._lock:
                    self._loading.pop(key, None)
            with self._lock:
                self._kept[key] = made
                while len(self._kept) > self._size:
                    self._kept.popitem(last=False)
                return made

    def _hit(self, key: tuple[str, str]) -> Any:
        self._hits += 1
        self._kept.move_to_end(key)
        return self._kept[key]

    def length(self, name: str, revision: str, messages: list[dict[str, Any]]) -> int:
        """How many tokens the model `name` is given for its next turn after `messages`.

        Raises:
            Unavailable: it is not to be had, or can't write down such messages.
        """
        tokenizer = self.get(name, revision)
        try:
            if tokenizer.chat_template:
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            else:
                text = "\n".join(str(message.get("content", "")) for message in messages)
            return len(tokenizer(text, add_special_tokens=False)["input_ids"])
        except Exception as error:  # a template is a program of the tokenizer's own
            raise Unavailable(f"{name}@{revision}: its template: {' '.join(str(error).split())[:300]}") from error

    def statistics(self) -> dict[str, int]:
        with self._lock:
            return {"size": len(self._kept), "max_size": self._size, "hits": self._hits, "misses": self._misses}
