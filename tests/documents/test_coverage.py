"""docs/coverage.md says of each thing that the documents ask for whether it is there, and names what shows it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = [
    line.split(" | ") for line in (ROOT / "docs/coverage.md").read_text().splitlines() if re.match(r"\| G?\d", line)
]


def test_each_thing_that_the_documents_ask_for_has_a_row() -> None:
    numbers = [row[0].removeprefix("| ") for row in ROWS]
    assert [number for number in numbers if number.isdecimal()] == [str(number) for number in range(1, 119)]


def test_each_row_says_whether_it_is_there_and_what_shows_it() -> None:
    for number, _, state, shown in ROWS:
        assert re.match(r"there|by consent|partly: |open: ", state), number
        assert shown.strip(" |"), number


def test_what_shows_it_is_there() -> None:
    named = re.findall(r"(?:tests|examples|images|provision|docs|native|benchmarks)/[\w./-]*\w", str(ROWS))
    assert len(named) > 100
    assert not [path for path in {*named} if not (ROOT / path).exists()]


def test_each_test_that_is_named_exists() -> None:
    """A name may be cut short."""
    files = list((ROOT / "tests").rglob("*.py"))
    written = "\n".join(["", *(f"def {path.stem}" for path in files), *(path.read_text() for path in files)])
    assert not [name for name in {*re.findall(r"\btest_\w+", str(ROWS))} if f"def {name}" not in written]
