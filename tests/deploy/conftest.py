"""A world on each platform."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.docker_host import DockerHost, engine_on_a_host
from tests.deploy.typed import deploy, steps
from tests.deploy.world import World
from tests.testbed import TestHost
from tests.testbed.fixtures import Place
from tests.testbed.slots import Slot

MakeWorld = Callable[..., World]


@pytest.fixture(params=["supervisord", "systemd"])
def platform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def host(platform: str, request: pytest.FixtureRequest) -> TestHost:
    """The shared host of the platform; docker: one of its own, with an engine."""
    if platform == "docker":
        engine: DockerHost = request.getfixturevalue("docker_host")
        return engine.host
    host: TestHost = request.getfixturevalue(f"{platform}_host")
    return host


@pytest.fixture
def world(platform: str, host: TestHost, place: Place, tmp_path: Path, request: pytest.FixtureRequest) -> World:
    """A project on the shared host of each platform; removed from it afterwards by nobody: places differ."""
    if platform == "docker":
        containers: World = request.getfixturevalue("docker_world")
        return containers
    # Program names are plain under supervisord, so worlds that share a host tell theirs apart by a prefix.
    target: dict[str, Any] = {"name_prefix": f"{place.name}-"} if platform == "supervisord" else {}
    return World(tmp_path / "project", host, platform, place.path, place.port(), place.name, target=target)


@pytest.fixture(scope="module")
def docker_host(slot: Slot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerHost]:
    with engine_on_a_host(slot, tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def image(docker_host: DockerHost) -> str:
    return docker_host.publish()


@pytest.fixture
def docker_world(docker_host: DockerHost, place: Place, tmp_path: Path, image: str) -> Iterator[World]:
    """A project of one image on an engine, which is empty afterwards."""
    world = World(tmp_path / "project", docker_host.host, "docker", place.path, place.port(), place.name)
    world.project = {"image": image}
    yield world
    for container in docker_host.client.containers.list(all=True):
        container.remove(force=True)


@pytest.fixture
def rollout_on_docker(docker_world: World) -> None:
    """Its second release is the canary of a rollout that takes its time."""
    docker_world.target = {"traffic": {}, "rollout": steps("10%", "50%", each="10m")}
    for version in ("1", "2"):
        docker_world.web(version)
        deploy(docker_world, "up")
