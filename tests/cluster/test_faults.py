"""What `deploy` makes of an API server that is busy, answers wrongly or not at all, and of its own sudden end.

The API server is the real one, with pods; what is asked of it goes through a proxy that does something else by plan.
"""

from __future__ import annotations

import itertools
import signal
from functools import partial

import pytest

from tests.cluster.declared import Declared
from tests.cluster.faulty import Answer, At, Before, FaultyApi, Lost, Request, passed, writes


@pytest.mark.slow
def test_killed_at_any_write_it_is_one_release_or_says_so_and_the_next_up_ends_it(
    served: Declared, faulty: FaultyApi
) -> None:
    """Reads change nothing: to be killed at one is to be killed after the write before it."""
    old = "one"
    for number in itertools.count():
        new = f"v{number}"
        served.write(new)
        with served.start("up") as process:
            faulty.plan = At(writes, Lost(process.kill), number)
            process.communicate(timeout=200)
        faulty.plan = passed
        if process.returncode == 0:
            assert number > 6
            return
        assert process.returncode == -signal.SIGKILL
        served.free()
        found = served.event("status")
        assert found["state"] in ("serving", "interrupted"), (number, found)
        if found["state"] == "serving":
            assert served.versions() in ({old}, {new}), number
        assert served.versions() <= {old, new}
        assert served.versions(), number
        served.ok("up")
        assert served.versions() == {new}
        assert served.event("status")["state"] == "serving"
        assert served.names("deployment.apps") == {"web"}
        old = new


# What somebody does to what is ours in the middle of a deploy, at any write of the inventory but the first.
MEDDLED: dict[str, tuple[str, ...]] = {
    "its inventory is labelled": ("label", "configmap", "deploy-{}", "backup=yes", "--overwrite"),
    "its inventory is deleted": ("delete", "configmap", "deploy-{}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", MEDDLED)
def test_whoever_touches_the_inventory_meanwhile_breaks_nothing(what: str, served: Declared, faulty: FaultyApi) -> None:
    """The server answers 409, or 404, to what is written then."""
    words = [word.format(served.name) for word in MEDDLED[what]]
    at_inventory = f"/configmaps/deploy-{served.name}"
    for number in itertools.count():
        served.write(f"v{number}")
        plan = faulty.plan = At(
            lambda request: request.method == "PUT" and at_inventory in request.path,
            Before(lambda: served.kubectl(*words)),
            number,
        )
        done = served.run("up")
        faulty.plan = passed
        assert done.returncode == 0, (number, done.stderr)
        assert served.versions() == {f"v{number}"}
        assert served.event("status")["state"] == "serving"
        if not plan.came:
            break
    assert number >= 2
    assert served.run("rollback").returncode == 0
    assert served.versions() == {f"v{number - 1}"}


@pytest.mark.slow
def test_who_edits_meanwhile_is_found_out_and_the_next_up_says_by_whom(served: Declared, faulty: FaultyApi) -> None:
    """`kubectl edit` of what was just applied: the controller makes pods of that, which the checks then judge."""
    edit = '{"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 7654}}}}'

    def edited() -> None:
        served.kubectl("patch", "deployment", "web", "--field-manager=ann", "-p", edit)

    faulty.plan = At(lambda request: "/portforward" in request.path, Before(edited))
    served.write("two")

    done = served.run("up")

    faulty.plan = passed
    assert done.returncode in (0, 1), done.stderr
    assert served.event("status")["state"] == "drifted"
    served.write("three")
    refused = served.run("up")
    assert refused.returncode == 4
    assert "deploy up --take-over ann" in refused.stderr
    served.ok("up", "--take-over", "ann")
    assert served.versions() == {"three"}
    assert served.event("status")["state"] == "serving"


@pytest.mark.slow
def test_a_lock_that_somebody_deletes_stops_who_had_it_before_it_changes_more(
    served: Declared, faulty: FaultyApi
) -> None:
    """Anybody may have begun since."""

    def deleted() -> None:
        served.kubectl("delete", "lease", f"deploy-{served.name}")

    served.write("two", more='[checks.never]\nhttp = "http://web:8000/"\nbody = "never"\ntimeout = "40s"\n')
    faulty.plan = At(lambda request: "/portforward" in request.path, Before(deleted))

    done = served.run("up")

    faulty.plan = passed
    assert done.returncode == 5, done.stderr
    assert "has deleted Lease deploy-" in done.stderr
    assert "It is between two releases" in done.stderr
    assert served.event("status")["state"] == "interrupted"
    served.write("three")
    served.ok("up")
    assert served.versions() == {"three"}


@pytest.mark.slow
@pytest.mark.parametrize("number_of", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_who_cancels_at_any_write_leaves_a_whole_release_and_no_lock(
    number_of: signal.Signals, served: Declared, faulty: FaultyApi
) -> None:
    """As CI does it; once a release is committed, it is too late."""
    old, codes = "one", set()
    for number in itertools.count():
        new = f"v{number}"
        served.write(new)
        with served.start("up") as process:
            faulty.plan = plan = At(writes, Before(partial(process.send_signal, number_of)), number)
            _, said = process.communicate(timeout=200)
        faulty.plan = passed
        assert process.returncode in (0, 130), (number, said)
        codes.add(process.returncode)
        old = new if process.returncode == 0 else old
        assert served.versions() == {old}, (number, said)
        assert served.event("status")["state"] == "serving", (number, said)
        assert served.kubectl("get", "lease", "-o", "jsonpath={.items[*].spec.holderIdentity}").strip() == ""
        if not plan.came:
            break
    assert codes == {0, 130}


# What the first request of each kind is answered.
BUSY: dict[str, Answer | Lost] = {
    "429, later": Answer(429, "TooManyRequests", {"Retry-After": "1"}),
    "429 in plain words": Answer(429, "Too Many Requests", {"Content-Type": "text/plain"}, "Too many requests."),
    "500": Answer(500, "InternalError"),
    "500 in plain words": Answer(500, "Internal Error", {"Content-Type": "text/plain"}, "etcdserver: timed out"),
    "503": Answer(503, "ServiceUnavailable"),
    "504": Answer(504, "Timeout"),
    "nothing, and it was done": Lost(),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", BUSY)
def test_a_busy_server_is_lived_through(what: str, served: Declared, faulty: FaultyApi) -> None:
    met: set[object] = set()

    def plan(request: Request) -> Answer | Lost | None:
        if request.kind in met or request.watches or "/portforward" in request.path:
            return None
        met.add(request.kind)
        return BUSY[what]

    served.write("two")
    faulty.plan = plan

    done = served.run("up")

    faulty.plan = passed
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(met) > 10
    assert served.versions() == {"two"}
    assert served.event("status")["state"] == "serving"
    assert served.kubectl("get", "lease", f"deploy-{served.name}", "-o", "jsonpath={.spec.holderIdentity}") == ""


_GONE = (
    '{"type":"ERROR","object":{"kind":"Status","status":"Failure","reason":"Expired","code":410,"message":"too old"}}\n'
)
WATCHES = {
    "it is too old": Answer(410, "Expired"),
    "it grew too old": Answer(200, body=_GONE),
    "it is cut in a line": Answer(200, body='{"type":"MODIF', short=True),
    "it ends in a line": Answer(200, body='{"type":"MODIF'),
    "it is no JSON": Answer(200, body="<html>\n"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", WATCHES)
def test_a_watch_that_breaks_misses_nothing(what: str, served: Declared, faulty: FaultyApi) -> None:
    broken = itertools.count()
    served.write("two")
    faulty.plan = lambda request: WATCHES[what] if request.watches and next(broken) < 12 else None

    done = served.run("up")

    assert done.returncode == 0, done.stdout + done.stderr
    assert next(broken) >= 4
    assert served.versions() == {"two"}


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/", "/never"], ids=["that stays", "that is put back"])
def test_copies_that_an_autoscaler_adds_meanwhile_stay_through_a_release(
    path: str, served: Declared, faulty: FaultyApi
) -> None:
    scale = "scale = { max = 4, cpu = 99 }\n"
    served.write("one", more=scale)
    served.ok("up")

    def scaled() -> None:
        served.kubectl("scale", "deployment/web", "--replicas=2")  # as it does: by the scale of the Deployment

    faulty.plan = At(lambda request: request.writes and "/deployments/" in request.path, Before(scaled))
    fails = '[checks.never]\nhttp = "http://web:8000/"\nbody = "never"\ntimeout = "2s"\n' if path != "/" else ""
    served.write("two", more=scale + fails)

    done = served.run("up")

    assert done.returncode == (1 if fails else 0), done.stderr
    assert served.kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "2"
    assert served.versions() == {"one" if fails else "two"}
    assert served.event("status")["state"] == "serving"


@pytest.mark.slow
def test_a_pod_that_goes_while_it_is_proven_is_not_the_releases_fault(served: Declared, faulty: FaultyApi) -> None:
    """As where its node dies, or is drained."""

    def gone() -> None:
        served.kubectl("delete", "pod", "-l", "app.kubernetes.io/name=web", "--grace-period=0", "--force")

    faulty.plan = At(lambda request: "/portforward" in request.path, Before(gone))
    served.write("two")

    served.ok("up")

    assert served.versions() == {"two"}
