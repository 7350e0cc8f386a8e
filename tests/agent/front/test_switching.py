"""Programs change behind a front, and nobody who uses the service meets it."""

import contextlib
import http.client

import pytest

from provision.agent.front import configuration
from provision.agent.front.master import Master, Silent
from provision.agent.front.render import render
from provision.agent.front.runtime import CONFIGURATION
from provision.agent.front.values import DRAIN
from provision.contract.failure import Failure
from provision.contract.slots import STABLE
from tests.agent.front.stand import PATIENCE, Crowd, Stream, ask
from tests.faults.hooks import until


def test_a_switch_fails_no_request_and_cuts_no_stream(stand):
    stand.start(*"ab")
    a, b = stand.server("a"), stand.server("b")
    stand.serve(stand.front(a, b._replace(state=DRAIN)))
    stream = Stream(stand)

    with Crowd(stand) as crowd:
        stand.runtime.become(stand.front(a._replace(state=DRAIN), b))
        crowd.more()
        assert not stand.runtime.drained("api", "a")
        before = len(crowd.answers)
        crowd.more()
        assert {answer.program for answer in crowd.answers[before + 4 :]} == {"b"}
        assert stream.is_all_of("a")
        until(lambda: stand.runtime.drained("api", "a"), "a has nothing left", PATIENCE)
        stand.kill("a")
        crowd.more()

    assert crowd.failed == []


def test_a_reload_keeps_streams_and_states_and_fails_no_request(stand):
    stand.start(*"abc")
    a, b, c = map(stand.server, ("a", "b", "c"))
    stand.serve(stand.front(a, b._replace(state=DRAIN)))
    stream = Stream(stand)

    with Crowd(stand) as crowd:
        for _ in range(3):
            # A server more is another structure; and so is one less.
            stand.runtime.become(stand.front(a._replace(state=DRAIN), b._replace(state=DRAIN), c))
            crowd.more()
            stand.runtime.become(stand.front(a._replace(state=DRAIN), b))
            crowd.more()
        assert not stand.runtime.drained("api", "a")  # the stream is in a process from before
        assert stream.is_all_of("a")
        until(lambda: stand.runtime.drained("api", "a"), "a has nothing left", PATIENCE)

    assert crowd.failed == []
    assert stand.get().program == "b"


def test_who_is_connected_to_a_process_from_before_a_reload_is_led_to_programs_that_are_new_since(stand):
    stand.start(*"ab")
    a, b = stand.server("a"), stand.server("b")
    stand.serve(stand.front(a))
    kept = http.client.HTTPConnection("127.0.0.1", stand.port, timeout=PATIENCE)
    assert ask(kept).program == "a"

    stand.runtime.become(stand.front(a._replace(state=DRAIN), b))

    assert ask(kept).program == "b"
    kept.close()


@pytest.mark.parametrize("address", ["*", "127.0.0.2"])
def test_who_is_connected_is_led_on_where_another_address_is_listened_at_since(stand, address):
    stand.start(*"ab")
    a, b = stand.server("a"), stand.server("b")
    stand.serve(stand.front(a))
    kept = http.client.HTTPConnection("127.0.0.1", stand.port, timeout=PATIENCE)
    assert ask(kept).program == "a"
    front = stand.front(a._replace(state=DRAIN), b)

    stand.runtime.become(front._replace(binds=tuple(bind._replace(address=address) for bind in front.binds)))

    assert ask(kept).program == "b"
    kept.close()


def test_a_port_that_is_somebody_elses_changes_nothing(stand):
    stand.start("a")
    stand.serve(stand.front(stand.server("a")))
    before = (stand.folder / CONFIGURATION).read_text()
    front = stand.front(stand.server("a"))
    bind = front.binds[0]

    with Crowd(stand) as crowd:
        with pytest.raises(Failure, match=f"port {stand.at('a')}"):
            stand.runtime.become(front._replace(binds=(bind, bind._replace(port=stand.at("a")))))
        crowd.more()

    assert crowd.failed == []
    assert (stand.folder / CONFIGURATION).read_text() == before


@pytest.mark.slow
def test_a_reload_that_fails_changes_nothing_and_the_next_one_succeeds(stand, monkeypatch):
    """Somebody takes the port between the look at it and the reload."""
    stand.start(*"ab")
    stand.serve(stand.front(stand.server("a")))
    before = (stand.folder / CONFIGURATION).read_text()
    stream = Stream(stand)
    front = stand.front(stand.server("a"))
    monkeypatch.setattr(configuration, "demand_free", lambda *_: None)
    bind = front.binds[0]

    with pytest.raises(Failure, match="did not take up"):
        stand.runtime.become(front._replace(binds=(bind, bind._replace(port=stand.at("a")))))

    assert (stand.folder / CONFIGURATION).read_text() == before
    assert stand.get().program == "a"
    assert stream.is_all_of("a")
    stand.runtime.become(stand.front(stand.server("a", state=DRAIN), stand.server("b")))
    assert stand.get().program == "b"


def test_after_its_death_it_serves_what_it_served(stand):
    stand.start(*"abc")
    a, b, canary = stand.server("a"), stand.server("b"), stand.server("c", lane="canary")
    stand.serve(stand.front(a, b._replace(state=DRAIN), canary, shares=(("canary", 0),)))
    stand.runtime.become(stand.front(a._replace(state=DRAIN), b, canary, shares=(("canary", 10_000),)))
    assert stand.get().program == "c"

    stand.process.kill()
    stand.process.wait()
    stand.start_haproxy()

    assert stand.get().program == "c"
    assert stand.get(X_Lane="stable").program == "b"


def test_what_was_written_and_not_said_is_said_by_whoever_comes_next(stand):
    stand.start(*"ab")
    a, b = stand.server("a"), stand.server("b")
    stand.serve(stand.front(a, b._replace(state=DRAIN)))
    wanted = stand.front(a._replace(state=DRAIN), b)
    (stand.folder / CONFIGURATION).write_text(render(wanted))  # and its writer was killed
    assert stand.get().program == "a"

    stand.runtime.become(wanted)

    assert stand.get().program == "b"


def test_a_reload_that_its_beginner_did_not_live_to_see_is_waited_for(stand):
    """HAProxy's socket is away meanwhile, which is not the same as no HAProxy."""
    stand.start(*"ab")
    a, b = stand.server("a"), stand.server("b")
    stand.serve(stand.front(a))
    for wanted in (stand.front(a._replace(state=DRAIN), b), stand.front(a, b._replace(state=DRAIN))) * 3:
        (stand.folder / CONFIGURATION).write_text(render(stand.front(a, hold_requests=7)))
        with contextlib.suppress(Silent):
            Master(str(stand.folder)).ask("reload")

        stand.runtime.become(wanted)

        assert stand.get().program == ("a" if wanted.backends[0].servers[0] == a else "b")


def test_a_program_that_comes_back_elsewhere_is_found_without_a_reload(stand):
    stand.start("a")
    a = stand.server("a")
    stand.serve(stand.front(a))
    served = stand.worker()
    stand.start("a2")

    stand.runtime.become(stand.front(a._replace(port=stand.at("a2"))))

    assert stand.get().program == "a2"
    assert stand.worker() == served


@pytest.mark.parametrize("lane", [STABLE, "canary"])
def test_what_was_made_ready_for_a_reload_that_never_came_takes_nothing_once_it_is_put_back(stand, monkeypatch, lane):
    """Its worker was killed between the two. Who was to serve may have been the canary, of which nobody gets any."""
    stand.start(*"ab")
    a, b = stand.server("a"), stand.server("b")
    before = stand.front(a, *([b._replace(lane=lane)] if lane != STABLE else []))
    stand.serve(before)
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(stand.runtime, "_reloaded", _killed)
        stand.runtime.become(stand.front(b))

    stand.runtime.become(before)

    assert {stand.get().program for _ in range(20)} == {"a"}
    stand.kill("b")
    tried = stand.tries()
    assert {stand.get().program for _ in range(20)} == {"a"}
    assert stand.tries() - tried == 20


def _killed(*_):
    raise KeyboardInterrupt
