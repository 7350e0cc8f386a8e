"""What a keeper says, in a folder that somebody else may have taken over: read in bounds, believed as moves."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from provision.agent import acme, journal, nearby, state, stepped
from provision.agent.analysis import Move
from provision.agent.ending import settle
from provision.agent.keeper import door, rings
from provision.contract import rollout
from provision.contract.acme import TRIED, given
from provision.contract.layout import Layout
from provision.contract.state import State

_STEPS = [0.1, 0.3, 0.5]


def _record(**more: Any) -> dict[str, Any]:
    asked: Any = {"document": {"steps": _STEPS, "each": 1.0}, "evidence": False, "by_somebody": True}
    record = rollout.begun(asked, "t1", "r2", "ann", 3)
    return {**record, "services": ["web"], "began": 100.0, "since": 100.0, **more}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(str(tmp_path))
    for folder in (layout.traffic, layout.history, layout.rings):
        Path(folder).mkdir(parents=True)
    channels = {"stable": "r1", "canary": "r2"}
    record: Any = _record()
    state.write(layout, State(sequence=7, channels=channels, project="shop", shares={"canary": 0.1}, rollout=record))
    return layout


def _note(move: str = "advance", **more: Any) -> dict[str, Any]:
    return {"move": move, "why": "as seen", "time": 200.0, "findings": [], **more}


def _plant(layout: Layout, *moves: Any, sequence: Any = 7, of: Any = "t1") -> None:
    Path(stepped.path(layout)).write_text(json.dumps({"sequence": sequence, "id": of, "moves": list(moves)}))


def test_noted_steps_are_the_state_and_the_history_before_and_after_they_are_written_into_them(layout: Layout) -> None:
    finding: Any = {"service": "web", "limit": "errors", "verdict": "fine", "says": "0 of 9"}
    stepped.add(layout, state.committed(layout), Move.ADVANCE, "step 1 is over", [finding])
    stepped.add(layout, state.committed(layout), Move.ABORT, "too many errors", [])
    seen, told = state.read_state(layout), state.history(layout)

    assert seen.rollout is not None
    assert (seen.sequence, seen.rollout["step"], seen.rollout["status"]) == (9, 1, rollout.ABORTED)
    assert seen.shares == {"canary": 0.0}
    assert [(each["sequence"], each["who"], each["rollout"]["why"]) for each in told] == [
        (8, "keeper", "step 1 is over"),
        (9, "keeper", "too many errors"),
    ]
    assert told[0]["rollout"]["findings"] == [finding]
    settle(layout)
    settle(layout)
    assert (state.committed(layout), state.read_state(layout), state.history(layout)) == (seen, seen, told)


@pytest.mark.parametrize(
    ("moves", "step", "status"),
    [
        ([_note()], 1, "running"),
        ([_note(), _note(), _note()], 2, "running"),  # there is no fourth
        ([_note("promote")], 0, "running"),  # not before the last
        ([_note(), _note(), _note("promote"), _note("abort")], 2, "passed"),
        ([_note("hold"), _note()], 0, "held"),
        ([_note("abort"), _note()], 0, "aborted"),
        ([_note("wait")], 0, "running"),
        ([_note("run this")], 0, "running"),
        ([_note(), _note("abort", time=float("nan"))], 1, "running"),
        ([_note(), _note("abort", time=1e300)], 1, "running"),
        ([_note(), _note("abort", time="now")], 1, "running"),
        ([_note(why=["a"])], 0, "running"),
        ([_note(findings={"a": 1})], 1, "running"),
        (["advance", 1, None], 0, "running"),
    ],
)
def test_a_note_is_a_move_that_a_keeper_makes_or_nothing(
    layout: Layout, moves: list[Any], step: int, status: str
) -> None:
    before = state.committed(layout)
    _plant(layout, *moves)
    seen = state.read_state(layout)
    state.history(layout)

    assert seen.rollout is not None
    assert (seen.rollout["step"], seen.rollout["status"]) == (step, status)
    assert set(seen.shares) == {"canary"}
    same = ("channels", "programs", "secrets", "peers", "project", "generation", "platform")
    assert [getattr(seen, each) for each in same] == [getattr(before, each) for each in same]
    assert {key: seen.rollout[key] for key in ("id", "release", "document", "who", "keep", "services")} == {
        key: value
        for key, value in _record().items()
        if key in ("id", "release", "document", "who", "keep", "services")
    }


@pytest.mark.parametrize("more", [{"sequence": 6}, {"sequence": [7]}, {"of": "t0"}, {"of": {}}])
def test_what_was_noted_of_another_state_counts_for_nothing(layout: Layout, more: dict[str, Any]) -> None:
    _plant(layout, _note("abort"), **more)
    assert state.read_state(layout) == state.committed(layout)


def test_of_a_rollout_that_an_agent_steps_nothing_is_noted(layout: Layout) -> None:
    record: Any = _record(by_somebody=False)
    state.write(layout, state.committed(layout)._replace(rollout=record))
    _plant(layout, _note("abort"))
    assert state.read_state(layout) == state.committed(layout)


def _odd(path: Path, kind: str) -> None:
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "deep":
        path.write_text("[" * 200_000)
    elif kind == "socket":
        folder = os.open(path.parent, os.O_PATH)
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(f"/proc/self/fd/{folder}/{path.name}")  # a name of at most 107 bytes (unix(7))
        os.close(folder)
    else:
        path.symlink_to(kind)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["pipe", "folder", "deep", "socket", "/dev/zero", "/etc/passwd", "steps.json"])
def test_no_odd_file_holds_ends_or_leads_away_who_reads(layout: Layout, kind: str) -> None:
    hour = int(time.time() // 3600)
    for path in (stepped.path(layout), f"{layout.rings}/{hour}.jsonl", f"{layout.traffic}/{door.NAME}"):
        _odd(Path(path), kind)

    assert state.read_state(layout) == state.committed(layout)
    assert state.history(layout) == []
    assert rings.read(layout.rings, 0.0) == {}
    assert rings.oldest(layout.rings) == 0.0
    assert door.ask(layout) is None
    Path(layout.acme).mkdir()
    _odd(Path(layout.acme) / TRIED, kind)
    assert acme.tried(layout) == {}


@pytest.mark.parametrize(
    "said", [[], {"web": 1}, {"web": {"names": []}}, {"web": {**given([], "", 0, 1), "until": "x"}}]
)
def test_what_cannot_have_become_of_a_certificate_is_not_told(layout: Layout, said: Any) -> None:
    Path(layout.acme).mkdir()
    (Path(layout.acme) / TRIED).write_text(json.dumps(said))
    assert acme.tried(layout) == {}


@pytest.mark.parametrize(
    "counts",
    [
        "all",
        [1],
        [{"service": "web"}],
        [{"service": [], "lane": "stable", "requests": 1, "errors": 0, "first_byte": {}, "bytes": 1, "tokens": [0, 0]}],
        [
            {
                "service": "web",
                "lane": "stable",
                "requests": 1,
                "errors": 0,
                "first_byte": {"9" * 9: 1},
                "bytes": 1,
                "tokens": [0, 0],
            }
        ],
        [
            {
                "service": "web",
                "lane": "stable",
                "requests": -1,
                "errors": 0,
                "first_byte": {},
                "bytes": 1,
                "tokens": [0, float("inf")],
            }
        ],
    ],
)
def test_figures_that_cannot_be_are_none(layout: Layout, counts: Any) -> None:
    minute = int(time.time() // 60)
    said = [{"minute": minute, "counts": counts}, {"minute": "now"}, 7, {"minute": minute}]
    Path(f"{layout.rings}/{minute // 60}.jsonl").write_text("\n".join(map(json.dumps, said)))
    assert rings.read(layout.rings, 0.0) == {}
    assert rings.series(layout.rings, 0.0, 5) == {}


def test_who_links_a_socket_of_somebody_else_there_is_not_spoken_with(layout: Layout, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(tmp_path / "engine.sock"))
        theirs.listen()
        theirs.settimeout(0.2)
        (Path(layout.traffic) / door.NAME).symlink_to(tmp_path / "engine.sock")
        with pytest.raises(OSError, match=door.NAME):
            nearby.connect(layout.traffic, door.NAME, 1.0)
        with pytest.raises(TimeoutError):
            theirs.accept()


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_keeper_that_answers_by_drops_is_waited_for_seconds_in_all(layout: Layout) -> None:
    listener = nearby.listen(layout.traffic, door.NAME, 1)
    listener.setblocking(True)
    over = threading.Event()

    def drip() -> None:
        guest, _ = listener.accept()
        with guest:
            while not over.wait(0.5):
                try:
                    guest.sendall(b" ")
                except OSError:
                    return

    thread = threading.Thread(target=drip)
    thread.start()
    began = time.monotonic()
    assert door.ask(layout) is None
    assert time.monotonic() - began < 10
    over.set()
    thread.join()
    listener.close()


def test_a_transaction_waits_for_a_step_that_is_being_taken_and_forgets_what_it_has_not_seen(layout: Layout) -> None:
    begun = threading.Event()

    def begin() -> None:
        begun.set()
        journal.Journal(layout.journal).begin({"step": "begin"})  # type: ignore[typeddict-item]

    with stepped.alone(layout) as is_alone, stepped.alone(layout) as is_still:
        assert is_alone
        assert is_still
        thread = threading.Thread(target=begin)
        thread.start()
        begun.wait()
        time.sleep(0.1)
        assert not Path(layout.journal).exists()
        stepped.add(layout, state.committed(layout), Move.ADVANCE, "over", [])
    thread.join()
    assert Path(layout.journal).exists()
    assert state.read_state(layout) == state.committed(layout)
