"""Where the cluster refuses, or a person deletes, in the last part of a change: nobody is told that nothing happened.

The API server is the real one, with pods; what is asked of it goes through a proxy that does something else by plan.
"""

from __future__ import annotations

import pytest

from tests.cluster.declared import Declared
from tests.cluster.faulty import Answer, At, Before, FaultyApi, Request, passed

pytestmark = pytest.mark.slow

_OTHER = '[services.other]\ncommand = ["/web", "${port}"]\nport = 8001\ndrain = "0s"\nstop_timeout = "1s"\n'


def _deletes(request: Request) -> bool:
    return request.method == "DELETE"


def test_a_release_that_runs_and_could_not_be_written_down_is_no_refusal(served: Declared, faulty: FaultyApi) -> None:
    """Such as by a token that ended, or a policy that came, while it was proven."""
    at_inventory = f"/configmaps/deploy-{served.name}"
    served.write("two")
    faulty.plan = At(
        lambda request: request.method == "PUT" and at_inventory in request.path, Answer(403, "Forbidden"), 1
    )

    done = served.run("up")

    faulty.plan = passed
    assert done.returncode == 5, done.stderr
    assert "runs and was proven, and the cluster could not be told that it is stable" in done.stderr
    assert served.event("status")["state"] == "interrupted"
    assert served.versions() == {"two"}
    served.ok("up")
    assert served.event("status")["state"] == "serving"


def test_what_may_not_be_pruned_is_said_and_fails_no_release(served: Declared, faulty: FaultyApi) -> None:
    served.write("two", more=_OTHER)
    served.ok("up")
    faulty.plan = lambda request: Answer(403, "Forbidden") if _deletes(request) else None
    served.write("three")

    done = served.run("up")

    assert done.returncode == 0, done.stderr
    assert "stays for now" in done.stderr
    assert served.versions() == {"three"}
    assert served.names("deployment.apps") == {"web", "other"}
    served.write("four", env=', CRASH = "no"')
    failed = served.run("up")
    assert failed.returncode == 1, failed.stderr
    assert "CrashLoopBackOff" in failed.stderr
    assert served.versions() == {"three"}
    faulty.plan = passed
    served.write("three")
    served.ok("up")
    assert served.names("deployment.apps") == {"web"}
    assert served.event("up")["outcome"] == "unchanged"


def test_an_end_that_is_refused_half_way_is_said_and_ended_by_the_next(served: Declared, faulty: FaultyApi) -> None:
    faulty.plan = lambda request: Answer(403, "Forbidden") if "services" in request.path and _deletes(request) else None

    done = served.run("down")

    faulty.plan = passed
    assert done.returncode == 5, done.stderr
    assert "not all of it has ended" in done.stderr
    status = served.run("status")
    assert "began down of all of it, and did not end it" in status.stdout
    assert served.event("status")["state"] == "interrupted"
    served.ok("down")
    assert served.event("status")["state"] == "nothing"
    assert served.names("service") == set()


def test_a_canary_ends_nothing_that_was_cut_short_of_stable(served: Declared, faulty: FaultyApi) -> None:
    served.write("two")
    with served.start("up") as process:
        faulty.plan = At(lambda request: "/portforward" in request.path, Before(process.kill))
        process.communicate(timeout=200)
    faulty.plan = passed
    served.free()
    served.write("three")

    served.ok("up", "--channel", "canary")

    status = served.run("status")
    assert "to stable, and did not end it" in status.stdout
    assert "next: deploy up, deploy rollback or deploy down" in status.stdout
    served.ok("promote")
    assert served.versions() == {"three"}
    assert served.event("status")["state"] == "serving"


def test_what_somebody_deletes_while_it_starts_is_put_back_at_once(served: Declared, faulty: FaultyApi) -> None:
    """Nothing of it comes by waiting."""
    served.write("two")
    gone = Before(lambda: served.kubectl("delete", "deployment", "web"))
    faulty.plan = At(lambda request: request.watches and "/deployments" in request.path, gone)

    done = served.run("up")

    faulty.plan = passed
    assert done.returncode == 1, done.stderr
    assert "Deployment web: it is gone" in done.stderr
    assert served.versions() == {"one"}
    assert served.event("status")["state"] == "serving"
