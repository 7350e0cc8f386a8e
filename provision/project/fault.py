"""One thing wrong with a declaration, before its line is known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

Path = tuple[str | int, ...]  # ("services", "web", "command", 2)


class Fault(NamedTuple):
    """What is wrong at `path`. `at_key` points at the key, otherwise at its value."""

    path: Path
    message: str
    hint: str = ""
    at_key: bool = False


def dotted(path: Path) -> str:
    """`path` as TOML would write it: `services.web.command[2]`, `services."my app".port`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (step if re.fullmatch(r"[A-Za-z0-9_-]+", step) else json.dumps(step))
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the nearest of `known`, or empty."""
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1)
    return f'Did you mean "{near[0]}"?' if near else ""


def nearest(word: str, known: Iterable[str], kind: str) -> str:
    """A hint that names the nearest of `known`, or else all of them."""
    names = list(known)
    return did_you_mean(word, names) or (f"Known {kind}: {', '.join(names)}." if names else "")
