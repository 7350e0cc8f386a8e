"""What a command told while it ran: kept, read back, and known to go on, to have ended, or to have been cut short."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from provision import recorded
from provision.recorded import Recorder


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def _begun(root: Path) -> Recorder:
    return Recorder(root, "deploy up", "prod", "ann@laptop")


def test_one_is_running_until_it_ends_and_keeps_what_it_told(tmp_path: Path) -> None:
    recorder = _begun(tmp_path)
    recorder.event({"event": "planned", "host": "gpu-03", "release": "r" * 64}, "")
    (run,) = recorded.runs(tmp_path)
    assert (run.outcome, run.running, run.command, run.target) == ("running", True, "deploy up", "prod")
    recorder.event({"event": "step", "host": "gpu-03", "step": "start"}, "gpu-03: starting web")
    recorder.end(1, {"kind": "PutBack", "what": "it failed."})
    (run,) = recorded.runs(tmp_path)
    assert (run.outcome, run.exit, run.releases) == ("put back", 1, ["r" * 64])
    assert [event["event"] for event in run.events] == ["planned", "step", "error", "end"]


def test_one_whose_writer_was_killed_is_cut_short(tmp_path: Path) -> None:
    recorder = _begun(tmp_path)
    recorder.close()
    (run,) = recorded.runs(tmp_path)
    assert run.outcome == "cut short"


def test_a_line_that_is_not_whole_and_a_file_of_somebody_else_s_are_left_out(tmp_path: Path) -> None:
    recorder = _begun(tmp_path)
    recorder.end(0)
    (file,) = recorded.folder(tmp_path).glob("*.jsonl")
    file.write_bytes(file.read_bytes() + b'{"at": 1.0, "event": "st')
    (recorded.folder(tmp_path) / "1-1.jsonl").write_text("[]\nnull\n")
    (run,) = recorded.runs(tmp_path)
    assert run.outcome == "done"


def test_one_that_is_read_while_it_grows_is_what_it_is_read_whole_wherever_it_was_cut(tmp_path: Path) -> None:
    with _begun(tmp_path) as recorder:
        recorder.event({"event": "step", "host": "gpu-03", "step": "start"}, "gpu-03: départ")
    (file,) = recorded.folder(tmp_path).glob("*.jsonl")
    content = file.read_bytes()
    whole = recorded.run(tmp_path, file.stem)
    for cut in range(len(content)):
        file.write_bytes(content[:cut])
        reading = recorded.reading(tmp_path, file.stem)
        assert reading
        reading.run()
        file.write_bytes(content)
        assert (reading.run(), reading.run()) == (whole, whole)


def test_the_newest_come_first_and_a_hundred_are_kept(tmp_path: Path) -> None:
    for number in range(103):
        (recorded.folder(tmp_path)).mkdir(parents=True, exist_ok=True)
        (recorded.folder(tmp_path) / f"{number:013d}-1.jsonl").write_text('{"at": 1.0, "event": "begin"}\n')
    _begun(tmp_path).end(0)
    kept = [run.id for run in recorded.runs(tmp_path)]
    assert len(kept) == 100
    assert kept == sorted(kept, reverse=True)


def test_those_of_a_project_that_nobody_deploys_any_more_go(tmp_path: Path) -> None:
    gone, other = tmp_path / "gone", tmp_path / "other"
    for root in (gone, other):
        root.mkdir()
        _begun(root).end(0)
    os.utime(recorded.folder(gone), (0, 0))
    _begun(tmp_path).end(0)
    assert [len(list(recorded.runs(root))) for root in (gone, other, tmp_path)] == [0, 1, 1]


def test_a_folder_that_cannot_be_written_hinders_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    with _begun(tmp_path) as recorder:
        recorder.event({"event": "step", "step": "start"}, "starting")
        recorder.end(0)
    assert list(recorded.runs(tmp_path)) == []


@pytest.mark.parametrize("id_", ["../../../etc/passwd", "..", "", "1-1/../2"])
def test_an_id_from_hell_names_no_file(tmp_path: Path, id_: str) -> None:
    _begun(tmp_path).end(0)
    assert recorded.run(tmp_path, id_) is None
