"""docs/security.md names a test for each line, and each of them is there."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_TABLE = (_ROOT / "docs/security.md").read_text(encoding="utf-8")


def test_each_test_that_is_named_is_there() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", _TABLE)
    assert len(named) > 20
    assert [name for file, name in named if f"def {name}(" not in (_ROOT / file).read_text(encoding="utf-8")] == []


def test_no_line_is_without_a_test() -> None:
    lines = [line for line in _TABLE.splitlines() if line.startswith("| ") and "Held by" not in line]
    assert [line for line in lines if "::test_" not in line] == []
