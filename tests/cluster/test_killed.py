"""A laptop that dies at any write of what is put back or taken down: nobody cleans up after it."""

from __future__ import annotations

import itertools
import signal

import pytest

from tests.cluster.declared import Declared
from tests.cluster.faulty import At, FaultyApi, Lost, passed, writes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

_NEVER = '[checks.never]\nhttp = "http://web:8000/"\nbody = "never"\ntimeout = "1s"\n'


def _killed(served: Declared, faulty: FaultyApi, number: int, *words: str) -> int:
    """The exit status of a verb that is killed right after this write, if it has so many. Nobody has the lock then."""
    with served.start(*words) as process:
        faulty.plan = At(writes, Lost(process.kill), number)
        process.communicate(timeout=200)
    faulty.plan = passed
    served.free()
    return process.returncode


def test_of_a_release_that_fails_the_old_one_serves_or_it_is_said_to_be_between_both(
    served: Declared, faulty: FaultyApi
) -> None:
    """What is brought fails its check each time, so half of the writes are those that put back."""
    for number in itertools.count():
        served.write(f"bad{number}", more=_NEVER)

        status = _killed(served, faulty, number, "up")

        found = served.event("status")
        assert status in (-signal.SIGKILL, 1), number
        assert found["state"] in (["serving"] if status == 1 else ["serving", "interrupted"]), (number, found)
        assert served.versions() <= {"one", f"bad{number}"}, number
        assert served.versions(), number
        if found["state"] == "serving":
            assert served.versions() == {"one"}, number
        else:
            assert served.run(*(["rollback"] if number % 2 else ["up"])).returncode == (0 if number % 2 else 1), number
            assert served.versions() == {"one"}, number
            assert served.event("status")["state"] == "serving"
        if status == 1:
            break
    assert number > 8
    assert served.names("deployment.apps") == {"web"}


@pytest.mark.parametrize("then", ["up", "down"])
def test_of_an_end_it_is_said_and_the_next_verb_ends_it(then: str, served: Declared, faulty: FaultyApi) -> None:
    for number in itertools.count():
        status = _killed(served, faulty, number, "down")

        assert status in (-signal.SIGKILL, 0), number
        if status:
            found = served.event("status")["state"]
            whole = found == "serving" and served.versions() == {"one"}
            assert whole or found in ("interrupted", "nothing"), (number, found)
        served.ok(then)
        assert served.event("status")["state"] == ("serving" if then == "up" else "nothing"), number
        if then == "down":
            assert served.names("deployment.apps") == set(), number
            assert served.names("service") == set(), number
        if status == 0:
            break
        served.ok("up")
        assert served.versions() == {"one"}, number
    assert number > 4
