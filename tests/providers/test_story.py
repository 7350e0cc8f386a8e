"""What `make demo-vast` shows, with the provider's books at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.providers import story
from tests.testbed.slots import Slot


@pytest.mark.root
@pytest.mark.slow
def test_the_whole_story_from_an_offer_to_the_bill(tmp_path: Path, slot: Slot) -> None:
    lines: list[str] = []

    story.tell(tmp_path, slot, lines.append)

    told = "\n".join(lines)
    assert "rent 1 x RTX 4090 by a bid of $0.200 an hour" in told
    assert "is as it was offered: " in told
    assert "has the backup of " in told and ": 1 files, " in told
    assert told.endswith("are left, and 0 machines")
