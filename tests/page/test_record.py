"""A command's record on the page, while it grows: what is made anew, and sent, is what changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.page import views
from provision.page.app import Page
from provision.page.live import Part
from provision.page.places import Project
from provision.recorded import Recorder, folder

HELL = "<script>alert(1)</script>"


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def _view(root: Path) -> views.Deploy:
    (file,) = folder(root).glob("*.jsonl")
    return views.Deploy(Page(Project("shop", root, {})).places, file.stem)


def _begin(recorder: Recorder, host: str, number: int) -> None:
    event = {"event": "phase", "host": host, "phase": f"phase {number}", "state": "begin"}
    recorder.event(event, f"{host}: phase {number}.")


def _html(parts: list[Part]) -> dict[str, str]:
    return {part.id: part.html for part in parts}


def test_an_event_of_one_host_changes_that_host_and_the_last_lines_alone(tmp_path: Path) -> None:
    with Recorder(tmp_path, "deploy up", "prod", "ann") as recorder:
        view = _view(tmp_path)
        for number in range(50):
            _begin(recorder, f"gpu-{number % 5}", number)
        before, mark = _html(view.parts()), view.mark()
        _begin(recorder, "gpu-3", 50)
        assert view.mark() != mark
        after = _html(view.parts())
        (host,) = (id_ for id_, html in before.items() if 'aria-label="gpu-3"' in html)
        assert {id_ for id_, html in after.items() if before.get(id_) != html} == {host, "said-40"}


def test_the_lines_are_there_in_their_order_and_of_many_the_last(tmp_path: Path) -> None:
    with Recorder(tmp_path, "deploy up", "prod", "ann") as recorder:
        view = _view(tmp_path)
        assert "nothing yet" in "".join(_html(view.parts()).values())
        for number in range(1000):
            _begin(recorder, HELL, number)
            if number % 100 == 0:
                view.parts()
        text = "".join(_html(view.parts()).values())
    assert HELL not in text
    assert "nothing yet" not in text
    places = [text.index(f"phase {number}.") for number in range(600, 1000)]
    assert places == sorted(places)
    assert "phase 599." not in text


def test_one_whose_writer_was_killed_is_told_so_although_nothing_more_was_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "deploy up", "prod", "ann")
    view = _view(tmp_path)
    assert "running" in _html(view.parts())["head"]
    recorder.close()
    assert "cut short" in _html(view.parts())["head"]
