"""The watchdog with a real child process: it starts, looks, ends, and starts again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bitnet import Event
from bitnet.errors import PortTaken
from bitnet.listener import Listener
from bitnet.report import local_url
from bitnet.telemetry import Telemetry
from bitnet.watchdog import Ended, Health, Patience, RestartPolicy, Watchdog, WatchOptions, take_sample
from bitnet.watchdog.state import WatchState
from tests.bitnet.runtime.conftest import CHECKOUT
from tests.endless import endless

SERVER = CHECKOUT / "tests/bitnet/runtime/fake_server.py"


class Watched:
    """A watchdog over the stand-in server, steered by a file."""

    def __init__(self, folder: Path, port: int, **options: Any) -> None:
        self.mode_file = folder / "mode"
        self.events: list[Event] = []
        self.port = port
        options = {
            "interval": 0.05,
            "poll_timeout": 0.3,
            "drain": 5.0,
            "patience": Patience(load=5, silence=0.5, stall=0.6),
            "restarts": RestartPolicy(limit=3, first=0.01, longest=0.02),
            **options,
        }
        command = [sys.executable, str(SERVER), "--port", str(port), "--mode-file", str(self.mode_file)]
        self.dog = Watchdog(
            WatchOptions(command=command, url=f"http://127.0.0.1:{port}", **options),
            {"PATH": "/usr/bin:/bin"},
            Telemetry([self.events.append]),
            on_output=lambda stream, data: None,
        )

    def mode(self, word: str) -> None:
        self.mode_file.write_text(word)

    def reasons(self) -> list[object]:
        return [event.fields["reason"] for event in self.events if event.name == "watch.ended"]

    def names(self) -> list[str]:
        return [event.name for event in self.events]


@asynccontextmanager
async def running(watched: Watched) -> AsyncIterator[asyncio.Task[Ended]]:
    task = asyncio.ensure_future(watched.dog.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


@pytest.fixture
def watched(tmp_path: Path, free_port: int) -> Watched:
    return Watched(tmp_path, free_port)


def serving(watched: Watched) -> Callable[[], bool]:
    return lambda: watched.dog.state.health() == (True, "serving")


async def test_a_loading_server_is_left_alone_until_it_serves(watched: Watched) -> None:
    watched.mode("loading")
    async with running(watched):
        await until(lambda: "watch.started" in watched.names())
        await asyncio.sleep(1)
        assert watched.dog.state.health() == (False, "loading")
        watched.mode("")
        await until(serving(watched))

        assert watched.reasons() == []


@pytest.mark.parametrize(
    ("mode", "reason"), [("stall", "stalled"), ("silent", "silent"), ("busy", "stalled"), ("drip", "silent")]
)
async def test_a_server_that_stops_working_is_ended_and_started_again(watched: Watched, mode: str, reason: str) -> None:
    """Issue 13, 6: what drips says nothing, however long it goes on."""
    async with running(watched):
        await until(serving(watched))
        first = watched.dog.state.pid
        watched.mode(mode)
        await until(lambda: watched.reasons() == [reason])
        watched.mode("")
        await until(lambda: serving(watched)() and watched.dog.state.pid != first)

    assert not Path(f"/proc/{first}").exists()


async def test_a_stopped_process_is_ended_too(watched: Watched) -> None:
    async with running(watched):
        await until(serving(watched))
        first = watched.dog.state.pid
        os.kill(first, signal.SIGSTOP)
        await until(lambda: watched.reasons() == ["silent"])
        await until(serving(watched))

        assert watched.dog.state.pid != first


async def test_slow_work_is_left_alone(watched: Watched) -> None:
    async with running(watched):
        await until(serving(watched))
        watched.mode("slow")
        await asyncio.sleep(1.5)

        assert watched.reasons() == []
        assert watched.dog.state.registry.get_sample_value("bitnet_watchdog_requests_in_flight") == 1


async def test_an_exit_is_a_failure_with_its_last_lines(watched: Watched) -> None:
    async with running(watched):
        await until(serving(watched))
        watched.mode("exit")
        await until(lambda: watched.reasons() == ["exited"])
        watched.mode("")
        await until(serving(watched))

    ended = next(event for event in watched.events if event.name == "watch.ended")
    assert ended.fields["returncode"] == 5
    assert watched.dog.state.registry.get_sample_value("bitnet_watchdog_restarts_total", {"reason": "exited"}) == 1


async def test_a_server_stuck_in_loading_is_started_again(tmp_path: Path, free_port: int) -> None:
    watched = Watched(tmp_path, free_port, patience=Patience(load=0.5, silence=5, stall=5))
    watched.mode("loading")
    async with running(watched):
        await until(lambda: watched.reasons()[:1] == ["stuck loading"])


async def test_after_the_limit_it_gives_up(watched: Watched) -> None:
    watched.mode("exit")
    async with running(watched) as task:
        assert await asyncio.wait_for(task, 20) is Ended.GAVE_UP

    assert watched.reasons() == ["exited"] * 4
    assert watched.names()[-1] == "watch.gave_up"


async def test_asked_to_stop_it_lets_requests_finish(watched: Watched) -> None:
    async with running(watched) as task:
        await until(serving(watched))
        watched.mode("slow")
        await until(lambda: watched.dog.state.registry.get_sample_value("bitnet_watchdog_requests_in_flight") == 1)
        watched.dog.stop()
        await until(lambda: watched.dog.state.health() == (False, "draining"))
        await asyncio.sleep(0.6)
        assert watched.reasons() == [], "it still drains"
        watched.mode("")

        assert await asyncio.wait_for(task, 10) is Ended.STOPPED
    assert watched.reasons() == ["stopped"]


async def test_draining_has_its_deadline(tmp_path: Path, free_port: int) -> None:
    watched = Watched(tmp_path, free_port, drain=0.5)
    watched.mode("slow")
    async with running(watched) as task:
        await until(serving(watched))
        watched.dog.stop()
        began = time.monotonic()
        await asyncio.wait_for(task, 10)

        assert 0.4 < time.monotonic() - began < 3


async def test_asked_twice_it_stops_at_once(tmp_path: Path, free_port: int) -> None:
    watched = Watched(tmp_path, free_port, drain=60.0)
    watched.mode("slow")
    async with running(watched) as task:
        await until(serving(watched))
        watched.dog.stop()
        await until(lambda: watched.dog.state.draining)
        watched.dog.stop()

        assert await asyncio.wait_for(task, 5) is Ended.STOPPED


async def test_a_loading_server_has_nothing_to_drain(tmp_path: Path, free_port: int) -> None:
    watched = Watched(tmp_path, free_port, drain=60.0)
    watched.mode("loading")
    async with running(watched) as task:
        await asyncio.sleep(0.5)
        watched.dog.stop()

        assert await asyncio.wait_for(task, 5) is Ended.STOPPED


async def test_renewed_it_drains_and_starts_again_without_counting_a_failure(watched: Watched) -> None:
    async with running(watched):
        await until(serving(watched))
        first = watched.dog.state.pid
        watched.dog.renew()
        await until(lambda: watched.reasons() == ["renewed"])
        await until(serving(watched))

        assert watched.dog.state.pid != first
        assert "watch.restarting" not in watched.names()


async def test_cancelled_it_leaves_no_server_behind(watched: Watched) -> None:
    async with running(watched):
        await until(serving(watched))
        pid = watched.dog.state.pid

    assert not Path(f"/proc/{pid}").exists()
    assert watched.dog.state.health() == (False, "not running")


class TestSamples:
    async def test_what_the_server_says_is_understood(self, watched: Watched) -> None:
        url = f"http://127.0.0.1:{watched.port}"
        async with running(watched):
            await until(serving(watched))
            watched.mode("stall")
            stalled = await asyncio.to_thread(take_sample, url, 1)
            watched.mode("nonsense")
            nonsense = await asyncio.to_thread(take_sample, url, 1)
            watched.mode("loading")
            loading = await asyncio.to_thread(take_sample, url, 1)

        assert (stalled.health, stalled.in_flight, stalled.progress) == (Health.READY, 1, (0, 0, 0))
        assert (nonsense.health, nonsense.in_flight) == (Health.READY, None)
        assert loading.health is Health.LOADING

    def test_nobody_there_is_silence(self, free_port: int) -> None:
        sample = take_sample(f"http://127.0.0.1:{free_port}", 1)

        assert sample.health is Health.SILENT
        assert "refused" in sample.detail

    def test_an_answer_that_is_no_server_of_ours_is_silence(self, free_port: int) -> None:
        with Listener("127.0.0.1", 0, WatchState().metrics, lambda: (True, "well")) as other:
            sample = take_sample(f"http://127.0.0.1:{other.port}", 1)

        assert (sample.health, sample.detail) == (Health.SILENT, "/health answered 404")

    def test_a_server_without_metrics_is_ready_and_unknown(self) -> None:
        from http.server import BaseHTTPRequestHandler, HTTPServer
        from threading import Thread

        class HealthOnly(BaseHTTPRequestHandler):
            seen: list[str | None] = []  # noqa: RUF012

            def do_GET(self) -> None:
                self.seen.append(self.headers["Authorization"])
                self.send_response(200 if self.path == "/health" else 501)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        server = HTTPServer(("127.0.0.1", 0), HealthOnly)
        Thread(target=server.serve_forever, daemon=True).start()
        sample = take_sample(f"http://127.0.0.1:{server.server_port}", 1, api_key="k")
        server.shutdown()
        server.server_close()

        assert (sample.health, sample.in_flight, sample.detail) == (Health.READY, None, "/metrics: 501")
        assert HealthOnly.seen == ["Bearer k", "Bearer k"]


class TestListener:
    def test_health_metrics_and_nothing_else(self) -> None:
        import httpx

        state = WatchState()
        with Listener("127.0.0.1", 0, state.metrics, lambda: (False, "draining")) as listener:
            url = f"http://127.0.0.1:{listener.port}"
            health, metrics, other = (httpx.get(f"{url}{path}") for path in ("/healthz", "/metrics", "/"))

        assert (health.status_code, health.text) == (503, "draining\n")
        assert "# TYPE bitnet_watchdog_restarts_total counter" in metrics.text
        assert other.status_code == 404

    def test_a_taken_port_is_said(self) -> None:
        metrics = WatchState().metrics
        with Listener("127.0.0.1", 0, metrics, lambda: (True, "")) as first, pytest.raises(PortTaken, match="listen"):
            Listener("127.0.0.1", first.port, metrics, lambda: (True, ""))


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("::1", "http://[::1]:1"),
        ("10.0.0.1", "http://10.0.0.1:1"),
        ("localhost", "http://localhost:1"),
    ],
)
def test_a_server_is_looked_at_where_it_can_be_reached(host: str, url: str) -> None:
    assert local_url(host, 1) == url


DRIPS = [
    (b"HTTP/1.1 200 OK\r\nX: ", b"x", "timed out"),
    (b"HTTP/1.1 200 OK\r\n\r\n", b"x", "timed out"),
    (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536, "more than 4 MiB, without an end"),
    (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "timed out"),
]


@pytest.mark.parametrize(("head", "drip", "said"), DRIPS, ids=["head", "body", "flood", "continued"])
def test_an_answer_without_an_end_is_no_answer(head: bytes, drip: bytes, said: str) -> None:
    """Issue 13, 6 and 7: a server that drips or floods, for ever."""
    with endless(head, drip) as port:
        sample = take_sample(f"http://127.0.0.1:{port}", 0.5 if said == "timed out" else 30.0)

    assert (sample.health, sample.detail) == (Health.SILENT, said)
