"""What runs once a release, decided by what is remembered of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from provision.contract.failure import Failure
from provision.contract.once import decide
from provision.contract.records import OnceRecord
from provision.contract.release import OnceDocument

_DECLARED: dict[str, OnceDocument] = {"migrate": {"command": ["true"], "timeout": 1.0, "secrets": [], "env": {}}}


def _records(*told: tuple[str, str]) -> list[OnceRecord]:
    """One of each release and outcome, oldest first."""
    return [
        {"name": "migrate", "release": release, "outcome": outcome, "why": "", "time": 0, "transaction": str(at)}
        for at, (release, outcome) in enumerate(told)
    ]


@pytest.mark.parametrize(
    ("told", "more", "do"),
    [
        ([], {}, "run"),
        ([], {"runner": "gpu-01"}, "note"),
        ([("old", "done")], {}, "run"),
        ([("new", "done")], {}, "keep"),
        ([("new", "done"), ("old", "done")], {}, "keep"),
        ([("new", "failed")], {}, "run"),
        ([("new", "done"), ("new", "undone")], {}, "run"),
        ([("new", "done")], {"again": ["migrate"]}, "run"),
        ([("new", "done")], {"again": ["migrate"], "runner": "gpu-01"}, "keep"),
        ([("new", "cut")], {}, "refused"),
        ([("old", "cut")], {}, "refused"),
        ([("old", "cut"), ("old", "done")], {}, "run"),
        ([("new", "not undone")], {"runner": "gpu-01"}, "refused"),
        ([("new", "undo cut")], {}, "refused"),
        ([("new", "cut")], {"again": ["migrate"]}, "run"),
        ([("old", "cut")], {"done": ["migrate"]}, "note"),
    ],
)
def test_what_is_unknown_is_asked_and_what_is_done_is_kept(
    told: Sequence[tuple[str, str]], more: dict[str, Any], do: str
) -> None:
    try:
        (decided,) = decide(_DECLARED, _records(*told), "new", **more)
        assert decided.do == do
    except Failure as unknown:
        assert do == "refused"
        assert "deploy up --done migrate" in unknown.next_step
