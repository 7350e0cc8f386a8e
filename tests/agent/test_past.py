"""What a host keeps of the past: bounded, and without secrets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from provision.agent import failed, guard, launch, prune, restarts, state
from provision.contract.layout import Layout


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A project's folder; whom it is is not this test's question."""
    monkeypatch.setattr(guard, "top", lambda _: None)
    made = Layout(str(tmp_path))
    for folder in (made.private, made.history, made.releases, made.run):
        Path(folder).mkdir(parents=True)
    return made


def test_failures_are_bounded_in_number_and_size_and_told_once_each(layout: Layout) -> None:
    for number in [*range(70), 69]:
        begun = {"kind": "up", "who": "ann", "time": float(number), "transaction": f"t{number}"}
        failed.note(layout, begun, {"stable": "r"}, "put back", f"because {number} " + "x" * 5000)  # type: ignore[arg-type]

    kept = failed.read(layout)

    assert [entry["time"] for entry in kept] == list(range(20, 70))
    assert all(entry["why"].startswith(f"because {entry['time']} ") for entry in kept)
    assert Path(layout.failed).stat().st_size < 64 << 10


def test_a_reason_has_no_secret_in_it(layout: Layout) -> None:
    folder = Path(layout.launchers("web"), "1-a")
    folder.mkdir(parents=True)
    (folder / "secrets").write_text("export TOKEN='quite-a-secret'\n")
    begun = {"kind": "up", "who": "ann", "time": 1.0, "transaction": "t"}

    failed.note(layout, begun, {}, "failed", "quite-a-secret and one-more", [("NEXT", "one-more")])  # type: ignore[arg-type]

    assert failed.read(layout)[0]["why"] == "<TOKEN> and <NEXT>"


def test_what_lies_in_its_place_and_is_no_record_is_none(layout: Layout) -> None:
    Path(layout.failed).write_text('{"failed": 7')
    assert failed.read(layout) == []


def test_the_history_is_bounded_and_still_says_of_each_release_that_it_served(layout: Layout) -> None:
    early, late = "e" * 64, "1" * 64
    Path(layout.release(early)).mkdir()
    Path(layout.release(late)).mkdir()
    for number in range(1, 701):
        release = early if number < 10 else late
        entry = {"sequence": number, "channels": {"stable": release}}
        Path(layout.history, state.entry_name(number)).write_text(json.dumps(entry))

    prune._history(layout)

    assert [entry["sequence"] for entry in state.history(layout)] == [9, *range(201, 701)]


NOW = 10_000.0
NOTED = [
    # words newest first, seconds since boot, proven pid -> seconds ago
    (["9990:7", "9980:6", "9000:5"], 5000.0, 5, [10.0, 20.0]),
    (["9990:7"], 5000.0, 7, []),
    (["9990:7", "9980:6"], 5000.0, 4, [10.0, 20.0]),  # the proven one's start is too long ago to be noted
    (["9990:7", "9980:6"], 5000.0, None, [10.0]),  # the first one after a reboot started with the host
    (["9990:7", "9000:6"], 500.0, None, []),  # the second one was before it
    ([], 5000.0, 5, []),
    (["99999:7", "9980:6"], 5000.0, 5, []),  # of a clock that was wrong
    (["x", "9980:6"], 5000.0, 5, []),
    (["9990", ":", "9980:6"], 5000.0, 5, [10.0]),
]


@pytest.mark.parametrize(("words", "boot", "proven", "ago"), NOTED)
def test_restarts_are_the_starts_after_the_one_that_was_proven(
    words: list[str], boot: float, proven: int | None, ago: list[float]
) -> None:
    assert restarts._noted(words, NOW, boot, proven) == ago


def test_nothing_that_an_account_puts_in_place_of_its_notes_is_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("9990:7 9980:6 ")
    folder = tmp_path / "launch"
    folder.mkdir()
    (folder / "starts").symlink_to(other)
    assert launch.starts(str(folder)) == []
    (folder / "starts").unlink()
    os.mkfifo(folder / "starts")
    assert launch.starts(str(folder)) == []
