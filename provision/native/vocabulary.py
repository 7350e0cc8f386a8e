"""The demo model's tokens: every byte, a few words, and nothing else, as a byte-level BPE.

GPT-2's encoding writes each byte as one printable character, so that any text can be tokenized. A word is reached
from its letters by merges from left to right; the steps on the way are tokens too, but the model never says them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import gguf

_WORDS = """
    a all and are ask at back be before both by check come each every fast few file find first for from give go good
    has here host in is it keep know last left less like line load log long make may model more name near never new
    next no not now of old on one only or other our out over path plan port proof read release rest right run same
    say see serve ship small so start step stop take test that the then there they this time to two up use wait
    warm was we well when where which who will with word work you
"""
_MARKS = (".", ",")
_END = "<|end|>"


@dataclass(frozen=True)
class Vocabulary:
    """`says[i]` is whether the model may say token i; `end` is the token that would end an answer."""

    tokens: list[str]
    types: list[gguf.TokenType]
    merges: list[str]
    says: list[bool]
    end: int


def vocabulary(size: int) -> Vocabulary:
    """The tokens, filled up to `size` with ones that no text reaches."""
    letters = _characters_of_bytes()
    words = [letters[ord(" ")] + word for word in _WORDS.split()]
    # A dictionary keeps the order of insertion and drops the second "Ġth".
    merged = list(dict.fromkeys(prefix for word in words for prefix in list(accumulate(word))[1:]))
    spoken = [*letters, *merged, _END]
    unused = [f"<|unused {number}|>" for number in range(size - len(spoken))]
    sayable = {*words, *_MARKS}
    return Vocabulary(
        tokens=spoken + unused,
        types=[gguf.TokenType.NORMAL] * (len(spoken) - 1)
        + [gguf.TokenType.CONTROL]
        + [gguf.TokenType.UNUSED] * len(unused),
        merges=[f"{token[:-1]} {token[-1]}" for token in merged],
        says=[token in sayable for token in spoken + unused],
        end=len(spoken) - 1,
    )


def _characters_of_bytes() -> list[str]:
    """GPT-2's character for each byte: itself if Latin-1 prints it, else the next free one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]
