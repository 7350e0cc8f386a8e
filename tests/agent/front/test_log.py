"""What a front tells of each request, and who counts it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provision.agent.front import log
from provision.agent.front.listening import Log, Minutes
from provision.agent.front.log import Served
from provision.agent.front.values import DRAIN, Front
from tests.agent.front.stand import PATIENCE, Stand, Stream
from tests.faults.hooks import until


class _Lane:
    """As an analysis counts."""

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0

    def count(self, served: Served) -> None:
        self.requests += 1
        self.errors += served.failed


class _Heard:
    def __init__(self, listening: Log) -> None:
        self.lines: list[Served] = []
        self._listening = listening

    def until(self, count: int) -> list[Served]:
        """Wait for so many lines in all."""
        until(lambda: len(self.hear()) >= count, f"{count} lines", PATIENCE)
        return self.lines

    def hear(self) -> list[Served]:
        self.lines += self._listening.served(0.05)
        return self.lines


@pytest.fixture
def heard(stand: Stand) -> Iterator[_Heard]:
    with Log(str(stand.folder)) as listening:
        yield _Heard(listening)


def _logged(front: Front) -> Front:
    return front._replace(log=True)


def test_each_request_is_one_line_with_who_answered_for_which_lane(stand, heard):
    stand.start(*"ac")
    canary = stand.server("c", lane="canary")
    stand.serve(_logged(stand.front(stand.server("a"), canary, shares=(("canary", 0),))))

    slow = stand.get("/?wait=0.3")
    stand.get(X_Lane="canary")
    lines = heard.until(2)

    assert [(line.service, line.program, line.lane, line.status, line.failed) for line in lines] == [
        ("api", "a", "stable", 200, False),
        ("api", "c", "canary", 200, False),
    ]
    assert 0.3 <= lines[0].first_byte <= lines[0].seconds <= slow.seconds + 0.01
    assert lines[0].bytes > len(slow.body)
    assert heard.hear() == lines


def test_what_stable_did_for_a_dead_canary_is_the_canarys_failure(stand, heard):
    stand.start("a")
    dead = stand.server("c", lane="canary")
    stand.serve(_logged(stand.front(stand.server("a"), dead, shares=(("canary", 10_000),))))

    assert stand.get().status == 200

    (line,) = heard.until(1)
    assert (line.program, line.lane, line.status, line.moved, line.failed) == ("a", "canary", 200, True, True)
    assert line.first_byte > 0.1  # what its client waited for the other


def test_an_answer_that_breaks_off_failed_and_one_whose_client_left_did_not(stand, heard):
    stand.start(*"ab")
    a, b = stand.server("a"), stand.server("b", state=DRAIN)
    stand.serve(_logged(stand.front(a, b)))
    broken = Stream(stand)
    stand.runtime.become(_logged(stand.front(a._replace(state=DRAIN), b._replace(state="ready"))))
    stand.kill("a")
    assert not broken.is_all_of("a")
    (line,) = heard.until(1)
    assert (line.program, line.status, line.failed) == ("a", 200, True)

    with socket.create_connection(("127.0.0.1", stand.port)) as client:
        client.sendall(b"GET /stream?until=/nowhere HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(100)
    assert not heard.until(2)[1].failed


def test_who_is_sent_away_beyond_the_limit_is_counted(stand, heard):
    stand.start("a")
    stand.serve(_logged(stand.front(stand.server("a"), held=True, hold_requests=0)))

    assert stand.get().status == 503

    (line,) = heard.until(1)
    assert (line.program, line.status, line.failed) == ("", 503, True)


def test_nobody_waits_for_who_listens_and_what_was_said_meanwhile_is_not_lost(stand):
    stand.start("a")
    stand.serve(_logged(stand.front(stand.server("a"))))
    assert [stand.get().status for _ in range(20)] == [200] * 20

    with Log(str(stand.folder)) as first:
        assert len(_Heard(first).until(20)) == 20
    assert stand.get().status == 200
    with Log(str(stand.folder)) as second:
        assert _Heard(second).until(1)[-1].program == "a"


def test_a_front_that_finds_nobody_who_listens_takes_no_time_of_the_processor(stand):
    stand.start("a")
    stand.serve(_logged(stand.front(stand.server("a"))))
    assert stand.get().status == 200
    worker = stand.worker()

    before, began = _spent(worker), time.monotonic()
    time.sleep(2)

    assert _spent(worker) - before < 0.05 * (time.monotonic() - began)


def _spent(pid: int) -> float:
    """Seconds of the processor, by all its threads."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in threads) / 1e9


@given(st.binary(max_size=200))
def test_what_is_no_line_of_ours_says_nothing(line):
    assert log.read(line) is None


_LINE = "r1 1795979976.091 api api.2 - 200 0 0 1 12 20 76 0 ----"


@given(st.integers(0, 13), st.text(alphabet="x-0123456789:+<>.", max_size=12))
def test_a_line_with_a_strange_word_is_read_or_passed_over(at, word):
    words = _LINE.split()
    words[at] = word
    found = log.read(" ".join(words).encode())
    assert found is None or found.first_byte >= 0


def test_minutes_are_kept_in_bounded_room():
    minutes = Minutes(_Lane, minutes=3, lanes=2)
    line = log.read(_LINE.encode())
    assert line is not None
    for minute in range(10):
        for lane in ("stable", "canary", "invented"):
            minutes.add(line._replace(at=minute * 60.0, lane=lane, status=500 if lane == "canary" else 200))

    kept = list(minutes.taken())

    assert [each[:3] for each in kept] == [(at, "api", lane) for at in (7, 8, 9) for lane in ("stable", "canary")]
    assert sum(counted.errors for _, _, lane, counted in kept if lane == "canary") == 3
    assert not list(minutes.taken())


def test_a_second_listener_takes_the_place_of_one_that_was_killed(tmp_path):
    first = Log(str(tmp_path))
    with Log(str(tmp_path)):
        assert ((tmp_path / log.SOCKET).stat().st_mode & 0o777) == 0o600
    first.__exit__()


def test_who_says_a_line_without_an_end_is_hung_up_on(tmp_path):
    with Log(str(tmp_path)) as listening, socket.socket(socket.AF_UNIX) as worker:
        worker.connect(str(tmp_path / log.SOCKET))
        worker.sendall(b"x" * 10_000)
        until(lambda: listening.served(0.01) == [] and not listening._begun, "it is hung up on", PATIENCE)
        assert worker.recv(1) == b""
