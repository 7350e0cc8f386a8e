"""Nobody meets the moment of change on a Docker Engine either: HAProxy and the keeper are containers there."""

from __future__ import annotations

import time

import pytest

from provision import rollout
from provision.errors import DeployError
from tests.deploy.docker_host import DockerHost
from tests.deploy.typed import deploy
from tests.deploy.visitors import crowd, visitors
from tests.deploy.world import World, web
from tests.faults.hooks import until

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def world(docker_world: World) -> World:
    docker_world.target = {"traffic": {}}
    return docker_world


def of(docker_host: DockerHost, world: World, service: str) -> dict:
    return dict(docker_host.client.api.inspect_container(world.program(service)))


def test_a_release_takes_over_beside_and_one_that_fails_costs_nobody_a_request(docker_host, world) -> None:
    world.web("1")
    world.up()
    assert docker_host.running(world.name) == {"web", "traffic", "keeper"}
    front = of(docker_host, world, "traffic")["State"]["Pid"]

    with visitors(world) as met:
        world.web("2")
        world.up()
        world.web("broken", env={"VERSION": "broken", "FAIL": "sick"}, check={"http": "/", "timeout": "2s"})
        with pytest.raises(DeployError, match="The old release"):
            world.up()
        world.rollback()
        world.web("3")
        world.project = {"image": docker_host.publish()}
        world.up()

    assert met["versions"] == ["1", "2", "1", "3"]
    assert of(docker_host, world, "traffic")["State"]["Pid"] == front, "another image is no reason to start it anew"
    assert len(docker_host.running(world.name)) == 3
    assert world.status().state == "serving"
    assert world.up().plan.unchanged

    world.down()
    assert docker_host.client.containers.list(all=True) == []
    assert not world.exists(".deploy/traffic/haproxy.cfg")


def test_in_place_requests_wait_for_the_new_one_or_for_the_old_one(world) -> None:
    world.web("1", switch="in-place")
    world.up()

    with visitors(world) as met:
        world.web("2", switch="in-place")
        world.up()
        world.web("3", switch="in-place", env={"VERSION": "3", "FAIL": "late"})
        with pytest.raises(DeployError, match="The old release"):
            world.up()

    assert [each for each in met["versions"] if each != "3"][-1] == "2"


def test_a_canary_has_a_share_is_counted_and_is_promoted_as_it_runs(docker_host, world) -> None:
    world.web("1")
    world.up()
    world.web("2")
    world.up("canary")
    pid = of(docker_host, world, "web.2")["State"]["Pid"]
    assert world.version == "1"

    with visitors(world, streams=0):
        rollout.weigh(world.deployment(), 0.25)
        time.sleep(3)
        rollout.weigh(world.deployment(), 1.0)
        assert world.version == "2"

    def counted() -> set[str]:
        with rollout.watched_traffic(world.deployment()) as watch:
            (told,) = watch.look()
        assert isinstance(told, rollout.HostTraffic)
        lanes = told.answer["services"]["web"]["lanes"]
        return {lane for lane, each in lanes.items() if each["seen"]["requests"]}

    until(lambda: {"stable", "canary"} <= counted(), "the keeper has counted both lanes")
    world.promote()

    assert world.version == "2"
    assert of(docker_host, world, "web.2")["State"]["Pid"] == pid
    assert docker_host.running(world.name) == {"web.2", "traffic", "keeper"}


def test_haproxy_comes_back_as_it_was_and_with_its_engine(docker_host, world) -> None:
    world.web("1")
    world.up()
    docker_host.host.exec(["kill", "-9", str(of(docker_host, world, "traffic")["State"]["Pid"])])
    until(world.answers, "the engine started it again")
    docker_host.host.exec(["kill", "-9", str(of(docker_host, world, "keeper")["State"]["Pid"])])
    until(lambda: "keeper" in docker_host.running(world.name), "and the keeper")

    world.web("2")
    world.up()
    assert world.version == "2"
    assert world.status().state in ("serving", "restarting")
    with world.cli("logs", "traffic") as shown:
        assert shown.communicate(timeout=60)[0]


def test_a_host_gets_traffic_and_gives_it_up(docker_host, world) -> None:
    world.target = {}
    world.web("1")
    world.up()
    world.target = {"traffic": {}}
    world.web("1")
    world.up()
    assert world.version == "1"
    assert docker_host.running(world.name) == {"web.2", "traffic", "keeper"}

    world.target = {"traffic": "none"}
    world.web("2")
    world.up()
    assert world.version == "2"
    assert docker_host.running(world.name) == {"web"}


def test_another_service_makes_haproxy_read_its_file_anew_with_its_streams(docker_host, world) -> None:
    world.web("1")
    world.up()
    front = of(docker_host, world, "traffic")["State"]["Pid"]
    low = {"proxy": {"port": 81}}  # below 1024

    with visitors(world):
        world.declare({"web": web(world.port), "api": web(world.port + 1, **low)})
        world.up()

    assert of(docker_host, world, "traffic")["State"]["Pid"] == front
    assert world.answers(81)


def test_the_two_have_the_rights_that_they_need_and_no_others(docker_host, world) -> None:
    world.web("1")
    world.up()

    for name in ("traffic", "keeper"):
        found = of(docker_host, world, name)
        host, written = found["HostConfig"], [each["Source"] for each in found["Mounts"] if each["RW"]]
        assert written == [f"{world.path}/.deploy/traffic"]
        assert (host["CapDrop"], host["Privileged"], host["ReadonlyRootfs"]) == (["ALL"], False, True)
        assert not any("docker.sock" in each["Source"] for each in found["Mounts"])
        assert host["RestartPolicy"]["Name"] == "always"
    read = 'cat "/proc/$(pgrep -P "$(cat "$0")" | head -1)/status"'
    status = docker_host.host.exec(["sh", "-c", read, f"{world.path}/.deploy/traffic/haproxy.pid"])
    lines = dict(line.split(":\t", 1) for line in status.stdout.splitlines() if ":\t" in line)
    assert lines["Uid"].split()[0] != "0"
    assert int(lines["CapEff"], 16) == 0


@pytest.mark.timeout(1200)  # each change waits for the streams of the one before
def test_twenty_changes_cut_no_stream_of_ten_seconds(world) -> None:
    world.web("0", drain="20s")
    world.up()

    with visitors(world, streams=10, seconds=10.0, pause=0.02) as met:
        for version in range(1, 21):
            world.web(str(version), drain="20s")
            world.up()

    assert met["versions"][-1] == "20"
    assert met["streams"] >= 20


def test_a_canary_is_judged_by_steps_and_somebody_promotes_it(docker_host, world) -> None:
    """The keeper takes them without the engine; a promotion changes containers."""
    steps = {"steps": ["10%", "50%"], "each": "1s", "abort": {"errors": "20%"}}
    world.target = {"traffic": {}, "rollout": steps}
    world.web("1")
    world.up()
    world.web("2")
    with crowd(world):
        assert "then deploy rollout promote promotes it" in deploy(world, "plan", "--channel", "canary")
        deploy(world, "up")
        said = deploy(world, "rollout", "watch")
        assert "passed" in said
        assert "deploy rollout promote" in said
        assert "50% of the clients" in deploy(world, "status")
        deploy(world, "rollout", "promote")
    assert world.version == "2"
    assert "rollout promoted" in deploy(world, "history")

    world.web("3", env={"VERSION": "3", "ERRORS": "0.9"})
    with crowd(world):
        deploy(world, "up")
        assert "aborted" in deploy(world, "rollout", "watch", code=1)
    assert world.version == "2"


def test_who_takes_the_steps_is_killed_on_the_way_and_they_go_on(docker_host, world) -> None:
    steps = {"steps": ["10%", "30%", "50%"], "each": "2s", "abort": {"errors": "20%"}}
    world.target = {"traffic": {}, "rollout": steps}
    world.web("1")
    world.up()
    world.web("2")
    with crowd(world):
        deploy(world, "up")
        for _ in range(3):
            time.sleep(1.5)
            docker_host.host.exec(["kill", "-9", str(of(docker_host, world, "keeper")["State"]["Pid"])])
            until(lambda: "keeper" in docker_host.running(world.name), "the engine started it again")
        assert "passed" in deploy(world, "rollout", "watch")
        deploy(world, "promote")
    assert world.version == "2"
