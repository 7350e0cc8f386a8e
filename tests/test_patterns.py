"""Regular expressions that others' words are held against: none of them takes long over any, however they repeat."""

from __future__ import annotations

import ast
import importlib
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
USES = {"match", "search", "fullmatch", "findall", "finditer", "sub", "split"}
REPEATED = [" ", "a", "1", ".", "\\", '"', ", ", "=", ":", "<", "[", "${", "a=", "a ", "a\n", "$", "-"]
REPEATED += ["-----BEGIN CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----"]
BEFORE = ["", "<a>; ", "a "]
LENGTH = 20_000
SECONDS = 2  # of the processor's time, which others cannot take. A pass takes a millisecond; one from each place, more

# Of what is never long: names of files.
SHORT = {"_PUT_ASIDE"}


class Late(Exception):
    """A search did not come to its end."""


def patterns() -> Iterator[tuple[str, re.Pattern[Any], str]]:
    """Where each stands, what it is, and how it is used."""
    for package in ("provision", "bitnet"):
        for file in sorted((ROOT / package).rglob("*.py")):
            text = file.read_text()
            if not re.search(r"^import re$", text, re.MULTILINE):
                continue
            where = file.relative_to(ROOT).with_suffix("")
            module = importlib.import_module(".".join(where.parts).removesuffix(".__init__"))
            for node in ast.walk(ast.parse(text)):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                use, of = node.func.attr, node.func.value
                if not isinstance(of, ast.Name) or use not in USES:
                    continue
                if of.id == "re" and isinstance(node.args[0], ast.Constant):
                    flags = re.MULTILINE if "re.MULTILINE" in ast.unparse(node) else 0
                    yield f"{where}:{node.lineno}", re.compile(node.args[0].value, flags), use
                elif isinstance(found := getattr(module, of.id, None), re.Pattern) and of.id not in SHORT:
                    yield f"{where}:{of.id}", found, use


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    def late(*_: object) -> None:
        raise Late

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def use_on(pattern: re.Pattern[Any], use: str, text: str) -> None:
    words: Any = text.encode() if isinstance(pattern.pattern, bytes) else text
    if use == "sub":
        pattern.sub(words[:0], words)
    else:
        list(getattr(pattern, use)(words) or ()) if use == "finditer" else getattr(pattern, use)(words)


def test_no_pattern_goes_over_a_text_again_and_again() -> None:
    """`WWW-Authenticate` with 30,000 blanks kept the command line busy for half a minute."""
    slow = []
    for where, pattern, use in sorted(set(patterns()), key=lambda found: found[0]):
        for begin in BEFORE:
            for unit in REPEATED:
                try:
                    with at_most(SECONDS):
                        use_on(pattern, use, begin + unit * (LENGTH // len(unit)) + "\x01")
                except Late:
                    slow.append(f"{where}.{use} of {begin!r} and {unit!r} again and again")
    assert not slow


def test_a_pattern_that_does_go_over_it_again_would_be_found() -> None:
    with pytest.raises(Late), at_most(SECONDS):
        use_on(re.compile(r"\s*,?\s*a"), "match", " " * LENGTH * 5)
