"""Who gets to which lane, and stays there."""

from __future__ import annotations

from collections import Counter

import pytest

from provision.agent.front.master import Master
from provision.agent.front.values import DRAIN, Bind, Front, Limits, Route
from provision.contract.slots import STABLE
from tests.agent.front.stand import PATIENCE, Answered, Crowd, Stand, Stream
from tests.faults.hooks import until


def _with_canary(stand: Stand, share: int, state: str = "ready", **more: object) -> Front:
    stable = (stand.server("a"), stand.server("b"))
    return stand.front(*stable, stand.server("c", lane="canary", state=state), shares=(("canary", share),), **more)


def test_a_canary_gets_its_share_of_requests_and_not_one_where_it_has_none(stand):
    stand.start(*"abc")
    stand.serve(_with_canary(stand, 0, sticky=False))
    assert {stand.get().program for _ in range(40)} == {"a", "b"}

    stand.runtime.become(_with_canary(stand, 2_500, sticky=False))

    # 400 draws of 1 in 4: 100, and less than 60 or more than 140 once in 200,000 runs.
    found = Counter(stand.get().program for _ in range(400))
    assert 60 <= found["c"] <= 140
    assert found["a"] > 60
    assert found["b"] > 60


def test_a_client_with_a_cookie_keeps_its_lane_until_the_share_leaves_it(stand):
    stand.start(*"abc")
    stand.serve(_with_canary(stand, 5_000))
    first = [stand.get(User_Agent=f"browser {number}") for number in range(24)]
    assert {"c"} < {answer.program for answer in first}
    cookies = [answer.headers["set-cookie"].partition(";")[0] for answer in first]

    again = [stand.get(User_Agent="another address, as it were", Cookie=cookie) for cookie in cookies]
    assert [answer.program == "c" for answer in again] == [answer.program == "c" for answer in first]
    assert not any("set-cookie" in answer.headers for answer in again)

    stand.runtime.become(_with_canary(stand, 9_000))
    more = [stand.get(Cookie=cookie).program for cookie in cookies]
    assert all(now == "c" for now, before in zip(more, first, strict=True) if before.program == "c")

    stand.runtime.become(_with_canary(stand, 0))
    assert "c" not in {stand.get(Cookie=cookie).program for cookie in cookies}
    assert "set-cookie" not in stand.get().headers


def test_a_client_without_cookies_keeps_its_lane_by_its_address(stand):
    stand.start(*"abc")
    stand.serve(_with_canary(stand, 5_000))

    for browser in range(6):
        lanes = {stand.get(User_Agent=f"browser {browser}").program == "c" for _ in range(6)}
        assert len(lanes) == 1


def test_a_tester_reaches_the_lane_that_the_header_names(stand):
    stand.start(*"abc")
    stand.serve(_with_canary(stand, 0))
    assert stand.get(X_Lane="canary").program == "c"
    assert stand.get(X_Lane="nightly").program != "c"

    stand.runtime.become(_with_canary(stand, 10_000))

    assert stand.get().program == "c"
    assert stand.get(X_Lane="stable").program != "c"


def test_a_canary_that_dies_fails_nobody(stand):
    stand.start(*"abc")
    stand.serve(_with_canary(stand, 0, sticky=False))

    with Crowd(stand) as crowd:
        stand.kill("c")  # nobody is at it
        stand.runtime.become(_with_canary(stand, 5_000, sticky=False))
        crowd.more(40)
        stand.runtime.become(_with_canary(stand, 5_000, state=DRAIN, sticky=False))
        crowd.more(40)

    assert crowd.failed == []
    assert {answer.program for answer in crowd.answers} == {"a", "b"}


def test_who_was_the_canary_is_stable_without_a_restart(stand):
    stand.start(*"ac")
    canary = stand.server("c", lane="canary")
    stand.serve(stand.front(stand.server("a"), canary, shares=(("canary", 1_000),)))

    with Crowd(stand) as crowd:
        stand.runtime.become(stand.front(stand.server("a", state=DRAIN), canary._replace(lane="stable")))
        crowd.more()

    assert crowd.failed == []
    assert stand.get().program == "c"


def test_copies_share_what_is_in_flight_evenly(stand):
    stand.start(*"ab")
    stand.serve(stand.front(stand.server("a"), stand.server("b")))

    found = Counter(stand.get().program for _ in range(200))

    assert min(found.values()) > 50


def test_requests_go_by_host_and_by_the_longest_path(stand):
    stand.start(*"abc")
    api = stand.front(stand.server("a")).backends[0]
    web = api._replace(service="web", servers=(stand.server("b"),))
    wide = api._replace(service="wide", servers=(stand.server("c"),))
    routes = (
        Route("wide", ("*.example.net",)),
        Route("web", ("www.example.net",)),
        Route("api", ("www.example.net",), "/v1/"),
        Route("", ("plain.example.net",), to_tls=8443),
    )
    stand.serve(Front(str(stand.folder), "shop", (Bind(stand.port, routes, "127.0.0.1"),), (api, web, wide)))

    assert stand.get("/", Host="www.example.net").program == "b"
    assert stand.get("/v1", Host="www.example.net").program == "a"
    assert stand.get("/v1/models", Host="WWW.example.NET:80").program == "a"
    assert stand.get("/v10", Host="www.example.net").program == "b"
    assert stand.get("/v1", Host="other.example.net").program == "c"
    assert stand.get("/", Host="example.com").status == 404
    led = stand.get("/a?b=c", Host="plain.example.net")
    assert (led.status, led.headers["location"]) == (308, "https://plain.example.net:8443/a?b=c")


def test_what_is_declared_of_requests_and_answers_holds(stand):
    stand.start("a")
    value = 'it\'s 5% of "$HOME" \\ # %[src]'
    limits = Limits(body=1000, headers=(("X-Frame", value), ("Server", "ours")))
    stand.serve(stand.front(stand.server("a"), limits=limits))

    answer = stand.get(X_Forwarded_For="6.6.6.6", X_Forwarded_Proto="https")

    assert answer.headers["x-frame"] == value
    assert answer.headers["server"] == "ours"
    assert answer.said["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert answer.said["headers"]["x-forwarded-proto"] == "http"
    assert len(answer.said["headers"]["x-request-id"]) == 36
    assert stand.post(b"x" * 1000).status == 200
    assert stand.post(b"x" * 1001).status == 413


@pytest.mark.slow
def test_one_address_has_so_many_requests_a_second(stand):
    """Seconds, because they are counted over two of them."""
    stand.start("a")
    stand.serve(stand.front(stand.server("a"), limits=Limits(rate=1)))
    found: list[Answered] = []
    until(lambda: found.append(stand.get()) or found[-1].status == 429, "one is too many", PATIENCE)
    assert int(found[-1].headers["retry-after"]) > 0
    until(lambda: stand.get().status == 200, "a pause is long enough", PATIENCE)


def test_one_address_has_so_many_requests_in_flight(stand):
    stand.start("a")
    stand.serve(stand.front(stand.server("a"), limits=Limits(connections=1)))
    stream = Stream(stand)
    assert stand.get().status == 429
    assert stream.is_all_of("a")
    until(lambda: stand.get().status == 200, "the stream has ended there, too", PATIENCE)


def test_somebody_takes_requests_at_each_moment_at_which_two_lanes_change_roles(stand, monkeypatch):
    stand.start(*"ab")
    a, b = stand.server("a", lane="canary"), stand.server("b", lane="canary")
    stand.serve(stand.front(a._replace(lane=STABLE), b))
    tell, met = Master.tell, []

    def told(self: Master, worker: int, commands: list[str]) -> list[str]:
        answers = []
        for command in commands:
            answers += tell(self, worker, [command])
            if command.startswith(("set", "add")):
                met.append((stand.get().status, command))
        return answers

    monkeypatch.setattr(Master, "tell", told)
    stand.runtime.become(stand.front(a, b._replace(lane=STABLE)))
    stand.runtime.become(stand.front(a._replace(lane=STABLE), b))

    assert len(met) > 10
    assert [each for each in met if each[0] != 200] == []
