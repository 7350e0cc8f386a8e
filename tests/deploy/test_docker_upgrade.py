"""A host whose keeper an earlier version left there: a container of another manifest, with another agent in it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import provision
from tests.deploy.docker_host import DockerHost
from tests.deploy.typed import deploy, steps
from tests.deploy.visitors import crowd
from tests.deploy.world import World

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

# What the keeper's container may write to: as it is, as HAProxy's; and as it was.
_NOW = 'Binds": [f"{layout.traffic}:{layout.traffic}"]'
_EARLIER = 'Binds": ["{0}:{0}".format(layout.traffic if name == TRAFFIC else layout.private)]'


@pytest.fixture
def earlier(tmp_path: Path) -> str:
    """A folder with a version before ours, for PYTHONPATH."""
    ours, package = Path(provision.__file__).parent, tmp_path / "earlier" / "provision"
    shutil.copytree(ours, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("bitnet", "templates"):
        (package.parent / name).symlink_to(ours.parent / name)
    manifests, agent = package / "manifests" / "engine_ours.py", package / "agent" / "keeper" / "home.py"
    assert _NOW in manifests.read_text()
    manifests.write_text(manifests.read_text().replace(_NOW, _EARLIER))
    agent.write_text(agent.read_text() + "\n# Earlier.\n")
    return str(package.parent)


def test_a_keeper_of_an_earlier_version_goes_on_and_gives_place_and_nobody_meets_it(
    docker_host: DockerHost, docker_world: World, earlier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = docker_world
    world.target = {"traffic": {}, "rollout": steps("10%", "50%", each="15s", at_most="5m")}
    with monkeypatch.context() as environment:
        environment.setenv("PYTHONPATH", earlier)
        world.web("1")
        deploy(world, "up")
        world.web("2")
        deploy(world, "up")

    def written() -> list[str]:
        mounts = docker_host.client.containers.get(world.program("keeper")).attrs["Mounts"]
        return [each["Source"].removeprefix(f"{world.path}/") for each in mounts if each["RW"]]

    front = world.pid("traffic")
    agent = world.host.read(f"{world.path}/.deploy/traffic/keep")
    with crowd(world) as met:
        assert "deploy up --abort-rollout" in deploy(world, "up", code=4)  # what is rendered is other now
        deploy(world, "rollout", "pause")
        deploy(world, "rollout", "resume")
        assert "passed" in deploy(world, "rollout", "watch")
        deploy(world, "rollout", "promote")
        assert (world.version, written()) == ("2", [".deploy"])
        assert world.host.read(f"{world.path}/.deploy/traffic/keep") != agent, (
            "it is of our version, in its old container"
        )

        deploy(world, "up")
        assert "passed" in deploy(world, "rollout", "watch")
        deploy(world, "rollout", "promote")
        assert (world.version, written()) == ("2", [".deploy/traffic"])
    assert (met["errors"], world.pid("traffic")) == (0, front)
    assert "unchanged" in deploy(world, "up")
