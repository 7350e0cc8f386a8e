"""A rollout on a Docker Engine is told what to do, its engine ends, its host loses power: real engine, real users."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.deploy.docker_host import DockerHost
from tests.deploy.typed import deploy, steps
from tests.deploy.visitors import crowd
from tests.deploy.world import World
from tests.faults.hooks import until
from tests.testbed.docker import start_engine

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.parametrize("platform", ["docker"]),
    pytest.mark.usefixtures("rollout_on_docker"),
]


def test_somebody_pauses_it_goes_on_ends_it_and_takes_all_of_it_down(docker_host: DockerHost, world: World) -> None:
    assert "unchanged" in deploy(world, "up")
    assert "paused" in deploy(world, "rollout", "pause")
    assert "deploy rollout abort" in deploy(world, "traffic", "canary=20%", code=4)
    assert "running" in deploy(world, "rollout", "resume")
    world.web("3")
    assert "deploy up --abort-rollout" in deploy(world, "up", code=4)
    with crowd(world):
        assert "aborted" in deploy(world, "rollout", "abort")
        deploy(world, "up")  # another one, of what was mended
    assert "step 1 of 2: 10% of the clients; running" in deploy(world, "status")
    deploy(world, "down", "--channel", "canary")
    assert world.version == "1"
    assert "no rollout is under way here" in deploy(world, "rollout", "pause", code=4)

    deploy(world, "up")
    deploy(world, "down")
    assert docker_host.client.containers.list(all=True) == []
    world.web("1")
    deploy(world, "up")
    assert world.version == "1"


@pytest.mark.parametrize("power", [False, True], ids=["its engine is killed", "its host loses power"])
def test_it_goes_on_after(docker_host: DockerHost, world: World, power: bool) -> None:
    world.target["rollout"] = steps("10%", "30%", "50%", each="4s", at_most="5m")
    world.web("3")
    deploy(world, "up", "--abort-rollout")
    host = docker_host.host
    if power:
        host.reboot()
    else:
        engine = host.exec(["pgrep", "-x", "dockerd"]).stdout.split()
        host.exec(["kill", "-9", *engine])
        until(lambda: host.exec(["pgrep", "-x", "dockerd"], check=False).returncode != 0, "it has ended")
        with suppress(FileNotFoundError):
            host.exec(["rm", "-f", "/run/docker.pid", "/var/run/docker.pid"])
    docker_host.client = start_engine(host)
    until(lambda: len(docker_host.running(world.name)) == 4, "the engine started its containers again", 60)
    until(world.answers, "stable serves")
    assert "rollout of" in deploy(world, "status", code=0 if power else 1)  # the engine started them again
    with crowd(world):
        assert "passed" in deploy(world, "rollout", "watch")
        deploy(world, "rollout", "promote")
    assert world.version == "3"
    assert "unchanged" in deploy(world, "up")
    deploy(world, "stop", "web")
    stopped = [each for each in docker_host.client.containers.list(all=True) if each.status == "exited"]
    policies = [each.attrs["HostConfig"]["RestartPolicy"]["Name"] for each in stopped]
    assert policies == ["unless-stopped"], "what was stopped stays so when its engine or its host starts"
