"""Others' words as Markdown that stays text: in a paragraph, a fixed width, a table, a block.

GitHub Flavored Markdown. What stands in them is not ours: names of files, logs, what hosts and registries say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

# What GitHub makes a link of, or tells somebody about, without any markup: addresses, people, issues (`#1`, `GH-1`).
_ADDRESS = re.compile(r"://|www\.|@|mailto:|xmpp:|#\d|\bgh-\d", re.IGNORECASE)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + " --- |" * len(head)
    yield from (f"| {' | '.join(row)} |" for row in rows)


def plain(value: object) -> str:
    """Text that stays text: no markup, no link, no picture, on one line.

    GFM, "Autolinks (extension)": an address, of a page or of a person, is a link without any markup. No backslash
    hinders that, a fixed width does.
    """
    return " ".join(code(word) if _ADDRESS.search(word) else _escaped(word) for word in str(value).split())


def _escaped(word: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~$!&])", r"\\\1", word)


def code(value: object) -> str:
    """The same in a fixed width; a backtick cannot end it, a bar does not end the cell."""
    text = " ".join(str(value).split()).replace("`", "'")
    return "`" + text.replace("\\|", "\\ |").replace("|", r"\|") + "`"


def block(lines: Sequence[str]) -> Iterator[str]:
    """Lines as they are. CommonMark, "Fenced code blocks": one ends with a longer fence alone, or its own."""
    texts = [" ".join(str(line).splitlines()) for line in lines]
    longest = max((len(run) for text in texts for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (f"{fence}text", *texts, fence)
