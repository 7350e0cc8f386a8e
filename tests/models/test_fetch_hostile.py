"""Where a model is fetched from is nobody to be believed: each answer ends in a sentence, and each wait is a number."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from provision.agent import download, fetch, source
from provision.contract.bringing import FetchModel
from provision.contract.failure import Failure
from provision.contract.layout import Layout

pytestmark = pytest.mark.root  # folders of its own, below which nobody else may write


_ASKED: FetchModel = {
    "op": "fetch-model",
    "sha256": "0" * 64,
    "name": "big.gguf",
    "bytes": 3 << 19,
    "url": "",
    "authorization": "",
    "limit": 0,
    "source": "the Hub",
}


@contextmanager
def _server(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """Answers each that asks; where."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=one, args=(listening.accept()[0],), daemon=True).start()

        def one(asking: socket.socket) -> None:
            with asking, contextlib.suppress(OSError):
                asking.recv(1 << 16)
                answer(asking)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/big.gguf"


def _endlessly(before: bytes, again: bytes, seconds: float) -> Callable[[socket.socket], object]:
    def answer(asking: socket.socket) -> None:
        asking.sendall(before)
        while True:
            asking.sendall(again)
            time.sleep(seconds)

    return answer


_SENT_ON = b"HTTP/1.1 302 Found\r\nLocation: %s\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda asking: asking.sendall(_SENT_ON % b"http://[::1"), "Invalid IPv6"),
        (lambda asking: asking.sendall(_SENT_ON % b"file:///etc/passwd"), "HTTP 302"),
        (lambda asking: asking.sendall(_SENT_ON % b"http://me:secret@example.net/"), "http://example.net is not asked"),
        (lambda asking: asking.sendall(_SENT_ON % b"/big.gguf"), "HTTP 302"),
        (lambda asking: asking.sendall(b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-1/" + b"9" * 5000 + b"\r\n\r\n"), ""),
        (lambda asking: asking.sendall(b"HTTP/9\x1b[2J 200 OK\r\n\r\n"), "HTTP/9[2J."),
        (_endlessly(_SENT_ON % b"/big.gguf", b"x" * 65536, 0.0), "HTTP 302"),
        (_endlessly(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.1), "nothing whole came"),
    ],
    ids=["no-address", "file", "login", "loop", "huge", "escape", "endless", "drip"],
)
def test_a_hostile_server_ends_in_a_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[socket.socket], object],
    says: str,
) -> None:
    monkeypatch.setattr(download, "_LONGEST_WAIT", 0.0)
    monkeypatch.setattr(download, "_UNHEARD", 2.0)
    with _server(answer) as url, pytest.raises(Failure) as failed:
        fetch.fetch(Layout(str(tmp_path)), {**_ASKED, "url": url}, lambda _: None, lambda: None)

    assert says in failed.value.sentence
    assert failed.value.sentence.isprintable()


@pytest.mark.parametrize("said", ["Mon, 01 Jan 0001 00:00:00 -0000", "9" * 5000, "\xb2", "-5", "soon"])
def test_whatever_wait_is_asked_for_is_a_number(said: str) -> None:
    assert isinstance(source.asked_wait(said), float)


def test_who_is_afar_sends_nobody_on_to_what_listens_on_the_host_alone() -> None:
    asked = urllib.request.Request("https://example.net/m.gguf")
    with pytest.raises(Failure, match=r"http://127\.0\.0\.1 is not asked"), socket.socket() as answer:
        source.Redirects().redirect_request(asked, answer.makefile("rb"), 302, "", {}, "http://127.0.0.1:80/m.gguf")
