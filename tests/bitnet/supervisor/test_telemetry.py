from __future__ import annotations

import json
import logging
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from bitnet.telemetry import Event, JsonLinesSink, Telemetry
from tests.bitnet.supervisor.programs import Recording


def test_an_event_is_one_flat_object_whose_name_nothing_can_hide() -> None:
    event = Event("launch.finished", {"returncode": 0, "event": "x", "at": 1}, at=12.5)
    assert event.as_dict() == {"event": "launch.finished", "at": 12.5, "returncode": 0}
    assert abs(Event("now").at - time.time()) < 5


def test_every_sink_is_told_even_when_one_fails(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: Event) -> None:
        raise OSError("disk full")

    recording = Recording()
    tell = Telemetry([broken, recording])
    with caplog.at_level(logging.ERROR):
        tell("a", number=1)
        tell("b")
    assert recording.names() == ["a", "b"]
    assert recording.only("a") == {"number": 1}
    assert len(caplog.records) == 1
    assert "disk full" in caplog.text


def test_a_file_gets_one_line_of_json_an_event(tmp_path: Path) -> None:
    with JsonLinesSink(tmp_path / "events.jsonl") as sink:
        sink(Event("a", {"text": "two\nlines ü"}, at=1))
        sink(Event("b", {"path": Path("x")}, at=2))
    sink.close()
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"event": "a", "at": 1, "text": "two\nlines ü"},
        {"event": "b", "at": 2, "path": "x"},
    ]


def test_what_was_in_the_file_stays(tmp_path: Path) -> None:
    for number in range(2):
        with JsonLinesSink(tmp_path / "events.jsonl") as sink:
            sink(Event("run", {"number": number}))
    assert [json.loads(line)["number"] for line in (tmp_path / "events.jsonl").read_text().splitlines()] == [0, 1]


def _write(path: Path, name: str) -> None:
    with JsonLinesSink(path) as sink:
        for _ in range(300):
            sink(Event(name, {"filler": name * 500}))


def test_processes_that_share_a_file_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    writers = [get_context("spawn").Process(target=_write, args=(path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(event["event"] for event in events) == ["a"] * 300 + ["b"] * 300
