"""What a host fetches arrives once: what was cut off goes on, whoever was killed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from provision.agent import fetch, models
from provision.agent.pieces import PIECE, RECORD
from provision.contract.failure import INTERRUPTED, Failure
from provision.contract.layout import Layout
from provision.contract.requests import FetchModel
from tests.faults.hooks import until
from tests.models.conftest import Hub

pytestmark = pytest.mark.root  # folders of its own, below which nobody else may write

CONTENT = b"".join(bytes([number]) * PIECE for number in range(1, 7)) + b"the end"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
_FETCH = """
import json, sys
from provision.agent import fetch
from provision.contract.layout import Layout
fetch.fetch(Layout(sys.argv[1]), json.loads(sys.argv[2]), lambda _: None, lambda: None)
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "a place"))


@pytest.fixture
def request_(hub: Hub) -> FetchModel:
    hub.put("acme/big", "big.gguf", CONTENT)
    url = f"{hub.url}/acme/big/resolve/main/big.gguf"
    return {"op": "fetch-model", "sha256": SHA256, "name": "big.gguf", "bytes": len(CONTENT), "url": url, "token": ""}


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


@pytest.mark.parametrize("url", ["http://example.net/m.gguf", "file:///etc/passwd", "ftp://127.0.0.1/m.gguf"])
def test_nothing_is_fetched_where_others_could_read_along(layout: Layout, request_: FetchModel, url: str) -> None:
    with pytest.raises(Failure, match="who is between could read along"):
        fetch.fetch(layout, {**request_, "url": url}, lambda _: None, lambda: None)


@pytest.mark.parametrize("faults", [("429", "500"), ("cut",), ("500",) * 3])
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
        ("other", "arrived damaged"),
    ],
)
def test_what_is_another_gets_no_name(layout: Layout, hub: Hub, request_: FetchModel, fault: str, says: str) -> None:
    hub.fail("", fault)

    with pytest.raises(Failure) as failed:
        fetch.fetch(layout, request_, lambda _: None, lambda: None)

    assert says in failed.value.sentence
    assert not Path(layout.model(SHA256)).exists()
