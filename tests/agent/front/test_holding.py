"""While no program can answer, requests wait, and are answered by whoever comes."""

from __future__ import annotations

import socket
import threading

import pytest

from provision.agent.front.values import DRAIN
from provision.contract.failure import Failure
from tests.agent.front.stand import PATIENCE, Answered, Crowd, Stand, Stream
from tests.faults.hooks import until


def _waiting(stand: Stand, count: int, **headers: str) -> tuple[list[Answered], list[threading.Thread]]:
    answers: list[Answered] = []
    clients = [threading.Thread(target=lambda: answers.append(stand.get(**headers))) for _ in range(count)]
    for client in clients:
        client.start()
    return answers, clients


def test_what_is_held_is_answered_by_the_program_that_comes(stand):
    stand.start("a")
    a, b = stand.server("a"), stand.server("b", state=DRAIN)
    stand.serve(stand.front(a, b))
    stream = Stream(stand)

    with Crowd(stand) as crowd:
        stand.runtime.become(stand.front(a, b, held=True))
        until(lambda: stand.runtime.held("api") == 4, "all clients wait", PATIENCE)
        assert stream.is_all_of("a")
        until(lambda: stand.runtime.drained("api", "a"), "a has nothing left", PATIENCE)
        stand.kill("a")
        answered = len(crowd.answers)
        stand.start("b")
        assert stand.runtime.held("api") == 4
        assert len(crowd.answers) == answered

        stand.runtime.become(stand.front(a._replace(state=DRAIN), b._replace(state="ready")))

        crowd.more()
        assert {answer.program for answer in crowd.answers[answered:]} == {"b"}

    assert crowd.failed == []
    assert stand.runtime.held("api") == 0


def test_the_old_program_answers_what_was_held_for_one_that_never_came(stand):
    stand.start("a")
    a, b = stand.server("a"), stand.server("b", state=DRAIN)
    stand.serve(stand.front(a, b))

    with Crowd(stand) as crowd:
        stand.runtime.become(stand.front(a, b, held=True))
        until(lambda: stand.runtime.held("api") == 4, "all clients wait", PATIENCE)
        stand.runtime.become(stand.front(a, b))
        crowd.more()

    assert crowd.failed == []


def test_exactly_what_is_beyond_the_limit_is_sent_away_with_the_time_to_come_back(stand):
    stand.start("a")
    a = stand.server("a")
    limited = {"hold_requests": 5}
    stand.serve(stand.front(a, **limited))
    stand.runtime.become(stand.front(a, held=True, **limited))

    answers, clients = _waiting(stand, 5)
    until(lambda: stand.runtime.held("api") == 5, "five wait", PATIENCE)
    beyond = [stand.get() for _ in range(3)]
    stand.runtime.become(stand.front(a, **limited))
    for client in clients:
        client.join()

    assert [answer.status for answer in beyond] == [503, 503, 503]
    assert all(int(answer.headers["retry-after"]) > 0 for answer in beyond)
    assert [answer.status for answer in answers] == [200] * 5


def test_nobody_is_taken_for_one_who_waits_while_a_program_answers(stand):
    """Requests come and go while one looks."""
    stand.start(*"ab")
    stand.serve(stand.front(stand.server("a"), stand.server("b")))

    with Crowd(stand, clients=8):
        assert [stand.runtime.held("api") for _ in range(100)] == [0] * 100


def test_nobody_waits_longer_than_is_declared(stand):
    stand.start("a")
    a = stand.server("a")
    stand.serve(stand.front(a, held=True, hold_seconds=0.5))

    answer = stand.get()

    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert answer.seconds >= 0.5


def test_who_has_left_does_not_count_among_those_who_wait(stand):
    stand.start("a")
    stand.serve(stand.front(stand.server("a"), held=True))
    with socket.create_connection(("127.0.0.1", stand.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        until(lambda: stand.runtime.held("api") == 1, "one waits", PATIENCE)

    until(lambda: stand.runtime.held("api") == 0, "nobody waits", PATIENCE)


def test_what_is_held_is_released_before_a_reload_and_never_lost_with_one(stand):
    stand.start("b")
    a = stand.server("a")
    stand.serve(stand.front(a, held=True))
    answers, clients = _waiting(stand, 3)
    until(lambda: stand.runtime.held("api") == 3, "three wait", PATIENCE)

    with pytest.raises(Failure, match="would be lost"):
        stand.runtime.become(stand.front(a, stand.server("b"), held=True))
    assert stand.runtime.held("api") == 3
    stand.runtime.become(stand.front(a._replace(state=DRAIN), stand.server("b")))
    for client in clients:
        client.join()

    assert [(answer.status, answer.program) for answer in answers] == [(200, "b")] * 3
    assert stand.get().program == "b"


def test_programs_that_start_anew_at_once_are_waited_for(stand):
    """Two at a time: HAProxy must not spend its tries between them."""
    stand.start(*"ab")
    stand.serve(stand.front(stand.server("a"), stand.server("b")))

    with Crowd(stand) as crowd:
        stand.runtime.become(stand.front(stand.server("a"), stand.server("b"), held=True))
        until(lambda: stand.runtime.held("api") == 4, "all clients wait", PATIENCE)  # so that none is cut
        stand.kill("a")
        stand.kill("b")
        stand.runtime.become(stand.front(stand.server("a"), stand.server("b")))
        answered = len(crowd.answers)
        before = stand.tries()
        until(lambda: stand.tries() > before + 20, "both were tried in vain", PATIENCE)
        assert len(crowd.answers) == answered
        stand.start("b")
        crowd.more()
        stand.start("a")
        until(lambda: any(answer.program == "a" for answer in crowd.answers[answered:]), "a answers, too", PATIENCE)

    assert crowd.failed == []
