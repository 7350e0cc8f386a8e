"""What a host fetches arrives once: what was cut off goes on, whoever was killed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from provision.agent import fetch, models, pieces
from provision.agent.pieces import RECORD
from provision.contract.bringing import FetchModel
from provision.contract.events import Emit
from provision.contract.failure import INTERRUPTED, Failure
from provision.contract.layout import Layout
from tests.faults.hooks import until
from tests.models.conftest import Hub

pytestmark = pytest.mark.root  # folders of its own, below which nobody else may write


PIECE = pieces.PIECE // 4  # of a small file
CONTENT = b"".join(bytes([number]) * PIECE for number in range(1, 7)) + b"the end"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
_FETCH = """
import json, sys
from provision.agent import fetch
from provision.contract.layout import Layout
fetch.fetch(Layout(sys.argv[1]), json.loads(sys.argv[2]), lambda _: None, lambda: None)
"""

_FETCH_ASKED = _FETCH.replace("sys.argv[2]", "sys.stdin.read()")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "a place"))


@pytest.fixture
def request_(hub: Hub) -> FetchModel:
    hub.put("acme/big", "big.gguf", CONTENT)
    url = f"{hub.url}/acme/big/resolve/main/big.gguf"
    return {
        "op": "fetch-model",
        "sha256": SHA256,
        "name": "big.gguf",
        "bytes": len(CONTENT),
        "url": url,
        "authorization": "",
        "limit": 0,
        "source": "the Hub",
    }


def _is_whole(layout: Layout) -> bool:
    folder = Path(layout.model(SHA256))
    return [path.name for path in folder.iterdir()] == ["big.gguf"] and (folder / "big.gguf").read_bytes() == CONTENT


def test_who_is_killed_while_pieces_arrive_goes_on_with_those_that_are_missing(
    layout: Layout, hub: Hub, request_: FetchModel
) -> None:
    record = Path(layout.incoming_model(SHA256), RECORD)
    hub.fail("", "", *["hang"] * 5)
    command = [sys.executable, "-c", _FETCH, layout.root, json.dumps(request_)]
    with subprocess.Popen(command) as killed:
        until(lambda: record.exists() and len(record.read_text().splitlines()) == 3, "two pieces are there")
        killed.kill()
    assert models.arrived(layout)[SHA256] in (2 * PIECE, PIECE + len(b"the end"))
    hub.fail()

    fetch.fetch(layout, request_, lambda _: None, lambda: None)

    assert _is_whole(layout)
    asked = Counter(each["range"] for each in hub.asked if each["files"])
    assert sum(asked.values()) <= 7 + 5, "what hung is asked for again, and nothing that was there"


def test_two_projects_of_a_host_that_fetch_the_same_at_once_both_have_it(
    tmp_path: Path, hub: Hub, request_: FetchModel
) -> None:
    layouts = [Layout(str(tmp_path / name)) for name in ("one", "other")]
    hub.fail("cut", "500", "cut")
    commands = [[sys.executable, "-c", _FETCH, layout.root, json.dumps(request_)] for layout in layouts]
    fetching = [subprocess.Popen(command) for command in commands]

    assert [each.wait(120) for each in fetching] == [0, 0]
    assert all(map(_is_whole, layouts))


def test_who_wants_it_no_more_is_heard_while_nothing_comes(layout: Layout, hub: Hub, request_: FetchModel) -> None:
    hub.fail(*["hang"] * 20)

    def stop() -> None:
        if [each for each in hub.asked if each["files"]]:
            raise Failure(INTERRUPTED, "interrupted")

    with pytest.raises(Failure, match="interrupted"):
        fetch.fetch(layout, request_, lambda _: None, stop)

    assert not Path(layout.model(SHA256)).exists()


def test_a_record_that_was_cut_or_is_of_another_file_is_not_believed(layout: Layout, request_: FetchModel) -> None:
    folder = Path(models.receive(layout, SHA256))
    for text in (
        f"{len(CONTENT)} {PIECE}\n0\n1",
        f"12 {PIECE}\n0\n",
        "words\n\n\n",
        "",
        f"{len(CONTENT)} {PIECE}\n99\n-1\n",
    ):
        (folder / RECORD).write_text(text)
        assert models.arrived(layout)[SHA256] in (0, PIECE, 12)
    (folder / RECORD).write_text(f"12 {PIECE}\n0\n")

    fetch.fetch(layout, request_, lambda _: None, lambda: None)

    assert _is_whole(layout)


def test_a_link_where_a_model_arrives_is_not_followed_and_stops_nothing(
    layout: Layout, request_: FetchModel, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "big.gguf").write_text("theirs")
    Path(layout.models).mkdir(parents=True)
    Path(layout.incoming_model(SHA256)).symlink_to(theirs)
    folder = Path(models.receive(layout, SHA256))
    (folder / "big.gguf").symlink_to(theirs / "big.gguf")
    Path(layout.model(SHA256)).symlink_to("/nowhere")
    Path(layout.model("dead")).write_text("no folder")

    assert models.present(layout) == []
    fetch.fetch(layout, request_, lambda _: None, lambda: None)

    assert _is_whole(layout)
    assert [(path.name, path.read_text()) for path in theirs.iterdir()] == [("big.gguf", "theirs")]


@pytest.mark.parametrize("url", ["http://example.net/m.gguf", "file:///etc/passwd", "ftp://127.0.0.1/m.gguf"])
def test_nothing_is_fetched_where_others_could_read_along(layout: Layout, request_: FetchModel, url: str) -> None:
    with pytest.raises(Failure, match="who is between could read along"):
        fetch.fetch(layout, {**request_, "url": url}, lambda _: None, lambda: None)


@pytest.mark.parametrize("faults", [("429", "500"), ("cut",), ("500",) * 13])
def test_what_fails_for_a_while_is_asked_again(
    layout: Layout, hub: Hub, request_: FetchModel, faults: tuple[str, ...]
) -> None:
    hub.fail(*faults)

    fetch.fetch(layout, request_, lambda _: None, lambda: None)

    assert _is_whole(layout)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("gone", "HTTP 404"),
        ("long", f"it has {len(CONTENT) + 1} bytes there, and {len(CONTENT)} in models.lock"),
        ("other", "is not model big.gguf as it was locked"),
    ],
)
def test_what_is_another_gets_no_name(layout: Layout, hub: Hub, request_: FetchModel, fault: str, says: str) -> None:
    hub.fail("", *[fault] * 20)

    with pytest.raises(Failure) as failed:
        fetch.fetch(layout, request_, lambda _: None, lambda: None)

    assert says in failed.value.sentence
    assert not Path(layout.model(SHA256)).exists()


def test_a_piece_that_came_wrong_is_found_by_a_second_reading(layout: Layout, hub: Hub, request_: FetchModel) -> None:
    hub.fail("", "other")

    fetch.fetch(layout, request_, lambda _: None, lambda: None)

    assert _is_whole(layout)
    assert len([each for each in hub.asked if each["files"]]) <= 2 * 7


def test_a_piece_that_the_disk_lost_is_the_only_one_that_is_fetched_again(
    layout: Layout, hub: Hub, request_: FetchModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, spoilt = models.digest, []

    def looked_at(path: str, emit: Emit) -> str:
        if not spoilt:
            spoilt.append(path)
            there = Path(path)
            there.chmod(0o644)
            with there.open("r+b") as file:
                file.seek(3 * PIECE + 5)
                file.write(b"another")
            there.chmod(0o444)
        return digest(path, emit)

    monkeypatch.setattr(models, "digest", looked_at)
    fetch.fetch(layout, request_, lambda _: None, lambda: None)

    assert _is_whole(layout)
    asked = [each["range"] for each in hub.asked if each["files"]]
    assert len(asked) == 7 + 1
    assert asked[-1] == f"bytes={3 * PIECE}-{4 * PIECE - 1}"


def test_a_disk_that_fills_half_way_keeps_what_is_whole_and_the_next_run_goes_on_there(
    tmp_path: Path, hub: Hub, request_: FetchModel
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={len(CONTENT) + PIECE},mode=755", "none", small], check=True)
    try:
        layout = Layout(str(small / "place"))
        taken = small / "what-somebody-else-writes"
        taken.write_bytes(b"x" * (2 * PIECE))  # so that five of seven find room
        with pytest.raises(Failure, match=r"the disk is full, and model big\.gguf has no room: \d+ MiB are missing"):
            fetch.fetch(layout, request_, lambda _: None, lambda: None)

        folder = Path(layout.incoming_model(SHA256))
        kept = pieces.recorded(str(folder), len(CONTENT))
        assert 0 < len(kept) < 7
        ends = min((max(kept) + 1) * PIECE, len(CONTENT))
        assert (folder / "big.gguf").stat().st_size == ends, "what came last and is no whole piece gave its room back"
        asked = len([each for each in hub.asked if each["files"]])

        taken.unlink()
        fetch.fetch(layout, request_, lambda _: None, lambda: None)
        assert _is_whole(layout)
        assert len([each for each in hub.asked if each["files"]]) == asked + 7 - len(kept)
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)


def test_a_line_of_what_has_arrived_that_was_cut_is_not_made_another_by_the_next(
    layout: Layout, hub: Hub, request_: FetchModel
) -> None:
    folder = Path(models.receive(layout, SHA256))
    (folder / "big.gguf").write_bytes(CONTENT[:PIECE])
    (folder / RECORD).write_text(f"{len(CONTENT)} {PIECE}\n0\n1")

    fetch.fetch(layout, request_, lambda _: None, lambda: None)

    assert _is_whole(layout)
    assert len([each for each in hub.asked if each["files"]]) == 6


@pytest.mark.parametrize("tenth", range(1, 10))
def test_a_line_that_is_cut_anywhere_costs_the_piece_that_was_on_its_way(
    layout: Layout, hub: Hub, request_: FetchModel, monkeypatch: pytest.MonkeyPatch, tenth: int
) -> None:
    small = 64 << 10
    monkeypatch.setattr(pieces, "PIECE", 4 * small)
    content = CONTENT[: 10 * small]
    hub.put("acme/small", "small.gguf", content)
    digest = hashlib.sha256(content).hexdigest()
    asked: FetchModel = {
        **request_,
        "sha256": digest,
        "bytes": len(content),
        "name": "small.gguf",
        "url": f"{hub.url}/acme/small/resolve/main/small.gguf",
    }
    hub.fail(*[""] * (tenth - 1), "cut")

    fetch.fetch(layout, asked, lambda _: None, lambda: None)

    assert Path(layout.model(digest), "small.gguf").read_bytes() == content
    assert len([each for each in hub.asked if each["files"]]) == 10 + 1


def test_a_token_and_what_is_signed_for_are_in_no_argument_and_no_file_while_pieces_arrive(
    layout: Layout, hub: Hub, request_: FetchModel
) -> None:
    secret = "hf_shown-to-nobody-else"
    hub.fail("", *["hang"] * 20)
    with subprocess.Popen([sys.executable, "-c", _FETCH_ASKED, layout.root], stdin=subprocess.PIPE) as fetching:
        assert fetching.stdin
        fetching.stdin.write(json.dumps({**request_, "authorization": f"Bearer {secret}"}).encode())
        fetching.stdin.close()
        until(lambda: len([each for each in hub.asked if each["files"]]) >= 4, "pieces are on their way")
        told = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        kept = [
            path.read_bytes() for path in Path(layout.root).rglob("*") if path.is_file() and path.stat().st_size < PIECE
        ]
        fetching.kill()

    assert not [text for text in (*told, *kept) if secret.encode() in text]
    assert any(each["token"] for each in hub.asked if not each["files"])
    assert not any(each["token"] for each in hub.asked if each["files"])


def test_what_was_begun_under_another_name_goes_on_under_this_one(
    layout: Layout, hub: Hub, request_: FetchModel
) -> None:
    folder = Path(models.receive(layout, SHA256))
    (folder / "before.gguf").write_bytes(CONTENT[: 2 * PIECE])
    (folder / RECORD).write_text(f"{len(CONTENT)} {PIECE}\n0\n1\n")

    fetch.fetch(layout, request_, lambda _: None, lambda: None)

    assert _is_whole(layout)
    assert len([each for each in hub.asked if each["files"]]) == 5


def test_of_a_fetch_that_an_upload_ends_nothing_else_gets_the_model_s_name(layout: Layout) -> None:
    folder = Path(models.receive(layout, SHA256))
    (folder / RECORD).write_text(f"{len(CONTENT)} {PIECE}\n0\n")
    (folder / "before.gguf").write_bytes(b"half")
    (folder / "apart").mkdir()
    (folder / "big.gguf").write_bytes(CONTENT)

    models.adopt(layout, SHA256, "big.gguf", lambda _: None)
    models.give_name(layout, SHA256, "a third.gguf")

    there = Path(layout.model(SHA256))
    assert {path.name: path.read_bytes() for path in there.iterdir()} == {"big.gguf": CONTENT, "a third.gguf": CONTENT}


def test_a_record_that_is_no_plain_file_is_not_read(layout: Layout, tmp_path: Path) -> None:
    folder = Path(models.receive(layout, SHA256))
    os.mkfifo(folder / RECORD)
    assert models.arrived(layout) == {SHA256: 0}
    (folder / RECORD).unlink()
    (tmp_path / "record").write_text(f"{PIECE} {PIECE}\n0\n")
    (folder / RECORD).symlink_to(tmp_path / "record")
    assert models.arrived(layout)[SHA256] < PIECE


def test_a_record_with_a_number_that_python_does_not_read_is_a_record(layout: Layout) -> None:
    folder = Path(models.receive(layout, SHA256))
    (folder / RECORD).write_text(f"{len(CONTENT)} {PIECE}\n{'9' * 5000}\n0\n")

    assert models.arrived(layout) == {SHA256: PIECE}
