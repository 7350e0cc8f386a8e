"""What `deploy up` promises, on a real host with a real supervisor."""

from __future__ import annotations

import pytest

from provision.errors import PutBack, Refused
from tests.deploy.world import World, web
from tests.faults.hooks import until

pytestmark = pytest.mark.root


def test_a_new_project_is_started_proven_and_then_stable(world: World) -> None:
    world.web("1")

    outcome = world.up()

    assert outcome.outcome == "committed"
    assert world.version == "1"
    assert world.stable == outcome.plan.release
    assert world.checks() == ["web http /health"]


def test_an_unchanged_project_is_left_alone_in_one_call(world: World) -> None:
    world.web("1")
    world.up()
    pid = world.pid("web")

    outcome = world.up()

    assert outcome.outcome == "unchanged"
    assert world.pid("web") == pid
    assert outcome.round_trips.keys() == {"connect", "facts"}
    assert outcome.round_trips["connect"]["exec"] == 1
    assert outcome.round_trips["facts"] == {"request": 1}


def test_a_changed_variable_restarts_its_service_alone(world: World) -> None:
    services = {"web": web(world.port, paths=[]), "other": web(world.port + 1, paths=[])}
    world.declare(services)
    world.up()
    before = {name: world.pid(name) for name in services}

    services["web"]["env"] = {"VERSION": "2"}
    world.declare(services)
    outcome = world.up()

    assert world.do(outcome) == {"web": "restart", "other": "keep"}
    assert world.version == "2"
    assert world.pid("other") == before["other"]
    assert world.pid("web") != before["web"]


def test_a_changed_file_reaches_those_that_read_it_and_no_others(world: World) -> None:
    services = {"web": web(world.port), "model": web(world.port + 1, paths=[])}
    (world.folder / "page.txt").write_text("old")
    world.declare(services)
    world.up()
    model = world.pid("model")

    (world.folder / "page.txt").write_text("new")
    outcome = world.up()

    assert world.do(outcome) == {"web": "restart", "model": "keep"}
    assert world.host.read(f"{world.path}/stable/page.txt") == b"new"
    assert world.pid("model") == model


@pytest.mark.parametrize("fail", ["exit", "late", "sick"])
def test_a_release_that_fails_leaves_the_old_one_serving_untouched(world: World, fail: str) -> None:
    world.web("1")
    old = world.up()
    pid = world.pid("web")

    world.web("2", env={"VERSION": "2", "FAIL": fail}, check={"http": "/health", "timeout": "3s"})
    with pytest.raises(PutBack) as failure:
        world.up()

    assert "The old release" in failure.value.why
    assert world.version == "1"
    assert world.pid("web") == pid, "the old process was disturbed"
    assert world.stable == old.plan.release
    assert not world.exists(".deploy/journal")


def test_a_failing_release_that_had_to_be_tried_in_place_is_put_back(world: World) -> None:
    world.web("1", switch="in-place")
    old = world.up()

    world.web("2", switch="in-place", env={"VERSION": "2", "FAIL": "exit"})
    with pytest.raises(PutBack) as failure:
        world.up()

    assert "exited with status 3" in str(failure.value)
    assert "about to exit" in failure.value.log
    assert world.version == "1"
    assert world.stable == old.plan.release


def test_a_first_release_that_fails_leaves_nothing_behind(world: World) -> None:
    world.web("1", env={"FAIL": "exit"})

    with pytest.raises(PutBack):
        world.up()

    assert world.stable == ""
    assert world.status().state == "nothing"
    assert world.up_after_repair() == "1"


def test_a_service_that_is_no_longer_declared_is_stopped_and_forgotten(world: World) -> None:
    world.declare({"web": web(world.port), "old": web(world.port + 1)})
    world.up()

    world.declare({"web": web(world.port)})
    outcome = world.up()

    assert world.do(outcome)["old"] == "remove"
    assert not world.answers(world.port + 1)
    assert world.answers()
    assert list(world.state()["programs"]) == [world.program("web")]


def test_a_renamed_service_takes_over_the_port(world: World) -> None:
    world.declare({"first": web(world.port, "1")})
    world.up()

    world.declare({"second": web(world.port, "2")})
    world.up()

    assert world.version == "2"
    assert list(world.state()["programs"]) == [world.program("second")]


def test_a_crashed_service_is_never_unchanged(world: World) -> None:
    world.web("1")
    world.up()
    stop = ["systemctl", "stop"] if world.platform == "systemd" else ["supervisorctl", "stop"]
    world.host.exec([*stop, world.program("web")])

    outcome = world.up()

    assert outcome.outcome == "committed"
    assert world.version == "1"


def test_a_manifest_that_was_edited_on_the_host_is_restored(world: World) -> None:
    world.web("1")
    world.up()
    folder = "/etc/systemd/system" if world.platform == "systemd" else "/etc/supervisor/conf.d"
    name = world.state()["programs"][world.program("web")]["manifest"]
    original = world.host.read(f"{folder}/{name}")
    world.host.exec(["sh", "-c", 'echo "# edited" >>"$1"', "sh", f"{folder}/{name}"])

    outcome = world.up()

    assert outcome.outcome == "committed"
    assert world.host.read(f"{folder}/{name}") == original


def test_a_port_that_a_stranger_holds_is_refused_by_name(world: World) -> None:
    world.host.write(f"/tmp/{world.name}/index.html", "stranger")
    listen = f"cd /tmp/{world.name} && exec python3 -m http.server --bind 127.0.0.1 {world.port} >/dev/null 2>&1 &"
    world.host.exec(["sh", "-c", listen])
    world.host.exec(["sh", "-c", f"until curl -s 127.0.0.1:{world.port} >/dev/null; do sleep 0.05; done"])
    world.web("1")
    try:
        with pytest.raises(Refused) as refusal:
            world.up()
        assert f"port {world.port}" in refusal.value.what
        assert "http.server" in refusal.value.what
        assert world.stable == ""
    finally:
        for pid in world.host.pids("http.server", str(world.port)):
            world.host.kill(pid)


def test_an_on_demand_service_is_there_but_not_started(world: World) -> None:
    world.declare({"web": web(world.port), "worker": {"command": ["sleep", "1000"], "on_demand": True}})

    world.up()

    assert world.status().state == "serving"
    assert world.status().project["view"]["programs"][world.program("worker")]["activity"] == "stopped"
    start = ["systemctl", "start"] if world.platform == "systemd" else ["supervisorctl", "start"]
    world.host.exec([*start, world.program("worker")])
    assert world.pid("worker") > 0


def test_an_on_demand_service_that_runs_finishes_on_its_old_code(world: World) -> None:
    worker = {"command": ["sleep", "1000"], "on_demand": True}
    world.declare({"web": web(world.port), "worker": worker})
    world.up()
    start = ["systemctl", "start"] if world.platform == "systemd" else ["supervisorctl", "start"]
    world.host.exec([*start, world.program("worker")])
    pid = world.pid("worker")

    world.declare({"web": web(world.port), "worker": {**worker, "command": ["sleep", "2000"]}})
    world.up()

    assert world.pid("worker") == pid
    stop = ["systemctl", "stop"] if world.platform == "systemd" else ["supervisorctl", "stop"]
    world.host.exec([*stop, world.program("worker")])
    world.host.exec([*start, world.program("worker")])
    until(lambda: world.host.pids("sleep", "2000"), "it has begun anew")  # its launcher, first


def test_services_start_after_those_they_need(world: World) -> None:
    slow = ["sh", "-c", 'sleep 0.5; exec python3 server.py "$1"', "sh", "${port}"]
    world.declare(
        {
            "front": web(world.port, after=["back"]),
            "back": web(world.port + 1, command=slow),
        }
    )

    world.up()

    assert world.checks() == ["back http /health", "front http /health"]
