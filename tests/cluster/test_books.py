"""What an inventory goes on saying, whatever is done beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from provision.cluster.kept.inventory import Begun, Inventory

_BEGUN = Begun("up", "stable", "a" * 64, "ann@laptop", 1.0)


def test_what_was_cut_short_is_ended_by_what_is_done_to_the_same_channel_alone() -> None:
    cut = Inventory(begun=_BEGUN)

    assert cut.left("stable") is None
    assert cut.left("") is None
    assert cut.left("canary") == _BEGUN
    assert cut.ended("weigh", "canary", "committed", "bob").begun == _BEGUN
    assert cut.ended("rollout", "canary", "committed", "bob").begun == _BEGUN
    assert cut.ended("up", "stable", "committed", "bob").begun is None


@pytest.mark.parametrize("mended", ["stable", "canary"])
def test_a_channel_that_is_degraded_stays_so_until_it_is_mended(mended: str) -> None:
    broken = replace(Inventory(), degraded="why").ended("up", "stable", "degraded", "ann", "why")
    later = broken.ended("up", "canary", "put back", "ann", "no")

    assert later.degraded_beside(mended) == ("" if mended == "stable" else "why")


def test_a_history_of_long_verdicts_is_as_long_as_a_config_map_has_room_for() -> None:
    """A rollout of a hundred services says of each of them what each limit came to, at each step."""
    finding = {"service": "web-of-a-long-name", "limit": "errors", "verdict": "fine", "says": "x" * 200}
    note: Any = {"id": "r", "release": "a" * 64, "step": 1, "steps": 9, "status": "running", "why": "x"}
    known = Inventory()
    for _ in range(60):
        known = known.ended("rollout", "canary", "committed", "ann", "x", {**note, "findings": [finding] * 300})

    assert len(json.dumps(asdict(known))) < 1 << 20
    assert 4 < len(known.history) < 50
    assert known.history[-1].sequence == 60
    huge = known.ended("rollout", "canary", "committed", "ann", "x", {**note, "findings": [finding] * 2500})
    assert huge.history[-1].sequence == 61
