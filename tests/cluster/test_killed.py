"""A laptop that dies at any write of what is put back or taken down: nobody cleans up after it."""

from __future__ import annotations

import itertools
import signal

import pytest

from tests.cluster.declared import Declared
from tests.cluster.faulty import At, FaultyApi, Lost, passed, writes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

_NEVER = '[checks.never]\nhttp = "http://web:8000/"\nbody = "never"\ntimeout = "1s"\n'


@pytest.fixture
def small(small: Declared, faulty: FaultyApi) -> Declared:
    """One that serves, deployed and asked through the proxy."""
    faulty.reach(small.kubeconfig)
    small.ok("up")
    return small


def _killed(small: Declared, faulty: FaultyApi, number: int, *words: str) -> int:
    """The exit status of a verb that is killed right after this write, if it has so many. Nobody has the lock then."""
    with small.start(*words) as process:
        faulty.plan = At(writes, Lost(process.kill), number)
        process.communicate(timeout=200)
    faulty.plan = passed
    small.free()
    return process.returncode


def test_of_a_release_that_fails_the_old_one_serves_or_it_is_said_to_be_between_both(
    small: Declared, faulty: FaultyApi
) -> None:
    """What is brought fails its check each time, so half of the writes are those that put back."""
    for number in itertools.count():
        small.write(f"bad{number}", more=_NEVER)

        status = _killed(small, faulty, number, "up")

        found = small.event("status")
        assert status in (-signal.SIGKILL, 1), number
        assert found["state"] in (["serving"] if status == 1 else ["serving", "interrupted"]), (number, found)
        assert small.versions() <= {"one", f"bad{number}"}, number
        assert small.versions(), number
        if found["state"] == "serving":
            assert small.versions() == {"one"}, number
        else:
            assert small.run(*(["rollback"] if number % 2 else ["up"])).returncode == (0 if number % 2 else 1), number
            assert small.versions() == {"one"}, number
            assert small.event("status")["state"] == "serving"
        if status == 1:
            break
    assert number > 8
    assert small.names("deployment.apps") == {"web"}


def test_taking_down_again_leaves_nothing(small: Declared, faulty: FaultyApi) -> None:
    for number in itertools.count():
        status = _killed(small, faulty, number, "down")

        assert status in (-signal.SIGKILL, 0), number
        small.ok("down")
        assert small.names("deployment.apps") == set(), number
        assert small.names("service") == set(), number
        assert small.event("status")["state"] == "nothing", number
        if status == 0:
            break
        small.ok("up")
        assert small.versions() == {"one"}, number
    assert number > 4
