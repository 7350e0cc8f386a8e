"""What the Models page says of where models lie, what fits where, and what moves now."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from provision import recorded
from provision.errors import Unreachable
from provision.page import views
from provision.page.app import Page
from provision.page.moving import moving
from provision.page.places import MODELS, PLACE, PLAN, Place, Project
from provision.page.poller import Heard, Key
from provision.plan import Content, Moves, Plan, Refusal
from provision.recorded import Run

RELEASE = "a" * 64
HELL = "<script>alert(1)</script>"


def planned(**more: Any) -> dict[str, Any]:
    contents = (
        Content("model", "whole.gguf", 700, 700, True),
        Content("model", HELL, 5 << 30, 1 << 30, False, fetched_from="https://models.test"),
    )
    return Plan("up", "stable", RELEASE, "", 1, contents=contents, **more).as_facts()


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    found = Page(Project("shop", tmp_path, {"prod": lambda: pytest.fail("nobody looks")}))
    found.poller._heard[Key(PLACE, "prod")] = Heard(Place("prod", "systemd", "/srv", ("one", "two")), time.time())
    for host in ("one", "two"):
        found.poller._heard[Key(MODELS, "prod", host)] = Heard([], time.time())
    yield found


def html(page: Page, plans: Mapping[str, Any], gone: Mapping[str, Any] | None = None) -> str:
    page.poller._heard[Key(PLAN, "prod")] = Heard((plans, gone or {}), time.time())
    found = "\n".join(part.html for part in views.Models(page.places).parts())
    assert "can't be shown" not in found
    assert HELL not in found
    return found


def test_what_fits_and_what_does_not_is_told_host_by_host_as_the_plan_has_it(page: Page) -> None:
    moves = Moves(4 << 30, 90.0, 20 << 30, memory=(6 << 30, 8 << 30), vram=(9 << 30, 8 << 30))
    said = html(page, {"one": planned(moves=moves)})
    for text in ("✔ whole", "1.1 GB of it", "https://models.test", "4.3 GB to move", "about 90.0 s"):
        assert text in said, said
    assert said.count("it does not fit") == 1  # the GPU's memory alone


def test_a_host_that_would_refuse_says_why_and_one_that_is_gone_what_to_do(page: Page) -> None:
    refused = Refusal("llama needs 9 GiB of memory.", "8 GiB are free.", "deploy stop llama")
    said = html(page, {"one": planned(refused=refused)}, {"two": Unreachable("two is gone.", next_step="ssh two")})
    assert "would be refused: llama needs 9 GiB" in said
    assert "<code>deploy stop llama</code>" in said
    assert "two is gone." in said


def test_what_a_command_of_this_machine_brings_is_there_while_it_comes(page: Page, tmp_path: Path) -> None:
    recorder = recorded.Recorder(tmp_path, "up", "prod", "ann@laptop")
    with recorder:
        recorder.event(
            {"event": "progress", "host": "one", "phase": "model", "file": HELL, "done": 1, "unit": "bytes"}, ""
        )
        said = html(page, {})
        assert "Moves now" in said
        assert "deploy" in said or "up</code>" in said
        recorder.end(0)
    assert "Moves now" not in html(page, {})


def told(*events: Mapping[str, Any], running: bool = True) -> Run:
    return Run("1-1", "up", "prod", running=running, events=({"event": "begin", "at": 0.0}, *events))


def some(at: float, done: int, total: int = 100, name: str = "a") -> dict[str, Any]:
    of = {"host": "one", "phase": "model", "file": name}
    return {"event": "progress", "at": at, "done": done, "total": total, "unit": "bytes", **of}


def phase(state: str) -> dict[str, Any]:
    return {"event": "phase", "state": state, "host": "one", "phase": "model", "at": 9.0}


# What a command told; what is on its way then, and for how long.
MOVES: list[tuple[Run, list[tuple[str, int, float | None]]]] = [
    (told(some(1, 0), some(3, 50)), [("model a", 50, 2.0)]),
    (told(some(1, 50), some(2, 100)), []),  # it is there
    (told(some(1, 50), phase("end")), []),
    (told(some(1, 50), phase("end"), phase("begin"), some(10, 60)), [("model a", 60, 36.0)]),
    (told(some(1, 10), some(1, 5, name="b")), [("model a", 10, None), ("model b", 5, None)]),
    (told(some(1, 10, total=0)), [("model a", 10, None)]),
    (told(some(1, 10), running=False), []),  # its writer was killed
]


@pytest.mark.parametrize(("run", "moves"), MOVES)
def test_what_is_under_way_is_what_a_running_command_said_last(
    run: Run, moves: list[tuple[str, int, float | None]]
) -> None:
    found = moving([run], "prod")
    assert [(each.what, each.done, each.left and round(each.left, 1)) for each in found] == moves
    assert moving([run], "other") == []
