"""How fast models came is a note: bounded, and whatever it says, nothing goes wrong by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.agent import speeds
from provision.contract.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / ".deploy").mkdir()
    return Layout(str(tmp_path))


def test_the_last_speed_of_each_source_is_kept_and_of_many_the_last_sources(layout: Layout) -> None:
    for number in range(20):
        speeds.note(layout, f"host-{number}", 10_000_000, 1)
    speeds.note(layout, "host-4", 30_000_000, 2)
    speeds.note(layout, "host-5", 100, 1)

    known = speeds.read(layout)

    assert list(known) == [*(f"host-{number}" for number in range(5, 20)), "host-4"]
    assert (known["host-4"], known["host-5"]) == (15_000_000, 10_000_000)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"last": 5}', '{"last": [["a"]]}', '{"last": [["a", null]]}', "\0"])
def test_what_nobody_wrote_is_no_speed(layout: Layout, text: str) -> None:
    Path(layout.private, "speeds.json").write_text(text)

    assert speeds.read(layout) == {}


def test_where_nothing_can_be_written_nothing_is(tmp_path: Path) -> None:
    speeds.note(Layout(str(tmp_path / "none")), "host", 10_000_000, 1)
