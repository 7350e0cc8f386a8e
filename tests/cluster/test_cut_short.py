"""Where the cluster refuses, or a person deletes, in the last part of a change: nobody is told that nothing happened.

The API server is the real one, with pods; what is asked of it goes through a proxy that does something else by plan.
"""

from __future__ import annotations

import itertools
import signal

import pytest

from tests.cluster.declared import Declared
from tests.cluster.faulty import Answer, At, Before, FaultyApi, Lost, Request, passed, writes

pytestmark = pytest.mark.slow

_OTHER = '[services.other]\ncommand = ["/web", "${port}"]\nport = 8001\ndrain = "0s"\nstop_timeout = "1s"\n'


@pytest.fixture
def small(small: Declared, faulty: FaultyApi) -> Declared:
    """One that serves, deployed and asked through the proxy."""
    faulty.reach(small.kubeconfig)
    small.ok("up")
    return small


def _deletes(request: Request) -> bool:
    return request.method == "DELETE"


def test_a_release_that_runs_and_could_not_be_written_down_is_no_refusal(small: Declared, faulty: FaultyApi) -> None:
    """Such as by a token that ended, or a policy that came, while it was proven."""
    at_inventory = f"/configmaps/deploy-{small.name}"
    small.write("two")
    faulty.plan = At(
        lambda request: request.method == "PUT" and at_inventory in request.path, Answer(403, "Forbidden"), 1
    )

    done = small.run("up")

    faulty.plan = passed
    assert done.returncode == 5, done.stderr
    assert "runs and was proven, and the cluster could not be told that it is stable" in done.stderr
    assert small.event("status")["state"] == "interrupted"
    assert small.versions() == {"two"}
    small.ok("up")
    assert small.event("status")["state"] == "serving"


def test_what_may_not_be_pruned_is_said_and_fails_no_release(small: Declared, faulty: FaultyApi) -> None:
    small.write("two", more=_OTHER)
    small.ok("up")
    faulty.plan = lambda request: Answer(403, "Forbidden") if _deletes(request) else None
    small.write("three")

    done = small.run("up")

    assert done.returncode == 0, done.stderr
    assert "stays for now" in done.stderr
    assert small.versions() == {"three"}
    assert small.names("deployment.apps") == {"web", "other"}
    small.write("four", env=', CRASH = "no"')
    failed = small.run("up")
    assert failed.returncode == 1, failed.stderr
    assert "CrashLoopBackOff" in failed.stderr
    assert small.versions() == {"three"}
    faulty.plan = passed
    small.write("three")
    small.ok("up")
    assert small.names("deployment.apps") == {"web"}
    assert small.event("up")["outcome"] == "unchanged"


def test_an_end_that_is_refused_half_way_is_said_and_ended_by_the_next(small: Declared, faulty: FaultyApi) -> None:
    faulty.plan = lambda request: Answer(403, "Forbidden") if "services" in request.path and _deletes(request) else None

    done = small.run("down")

    faulty.plan = passed
    assert done.returncode == 5, done.stderr
    assert "not all of it has ended" in done.stderr
    status = small.run("status")
    assert "began down of all of it, and did not end it" in status.stdout
    assert small.event("status")["state"] == "interrupted"
    small.ok("down")
    assert small.event("status")["state"] == "nothing"
    assert small.names("service") == set()


@pytest.mark.parametrize("then", ["up", "down"])
def test_killed_at_any_write_of_an_end_it_says_so_and_the_next_verb_ends_it(
    then: str, small: Declared, faulty: FaultyApi
) -> None:
    for number in itertools.count():
        with small.start("down") as process:
            faulty.plan = At(writes, Lost(process.kill), number)
            process.communicate(timeout=200)
        faulty.plan = passed
        small.free()
        if process.returncode == 0:
            assert number > 4
            return
        assert process.returncode == -signal.SIGKILL
        found = small.event("status")["state"]
        whole = found == "serving" and small.versions() == {"one"}
        assert whole or found in ("interrupted", "nothing"), (number, found)
        small.ok(then)
        assert small.event("status")["state"] == ("serving" if then == "up" else "nothing")
        small.ok("up")


def test_a_canary_ends_nothing_that_was_cut_short_of_stable(small: Declared, faulty: FaultyApi) -> None:
    small.write("two")
    with small.start("up") as process:
        faulty.plan = At(lambda request: "/portforward" in request.path, Before(process.kill))
        process.communicate(timeout=200)
    faulty.plan = passed
    small.free()
    small.write("three")

    small.ok("up", "--channel", "canary")

    status = small.run("status")
    assert "to stable, and did not end it" in status.stdout
    assert "next: deploy up, deploy rollback or deploy down" in status.stdout
    small.ok("promote")
    assert small.versions() == {"three"}
    assert small.event("status")["state"] == "serving"


def test_what_somebody_deletes_while_it_starts_is_put_back_at_once(small: Declared, faulty: FaultyApi) -> None:
    """Nothing of it comes by waiting."""
    small.write("two")
    gone = Before(lambda: small.kubectl("delete", "deployment", "web"))
    faulty.plan = At(lambda request: request.watches and "/deployments" in request.path, gone)

    done = small.run("up")

    faulty.plan = passed
    assert done.returncode == 1, done.stderr
    assert "Deployment web: it is gone" in done.stderr
    assert small.versions() == {"one"}
    assert small.event("status")["state"] == "serving"
