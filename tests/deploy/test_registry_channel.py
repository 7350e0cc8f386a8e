"""One canary and stable: what a registry's channel stands for, what hosts proved of it, and what they then run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from provision import rollout
from provision.errors import Refused
from provision.images import Repository, connect, parse
from provision.images.promotion.chain import findings
from provision.images.promotion.evidence import CheckResult, Evidence, store
from tests.deploy.docker_host import DockerHost
from tests.deploy.world import World
from tests.images.make import KEY, private_pem, public_pem, recorded
from tests.testbed.fixtures import Place

pytestmark = pytest.mark.root


@pytest.fixture
def repository(docker_host: DockerHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """One with an image as canary; this machine signs what is proven."""
    monkeypatch.setenv("DEPLOY_EVIDENCE_KEY", private_pem(KEY))
    monkeypatch.setenv("DEPLOY_SEEN", str(tmp_path / "seen.json"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    found = connect(parse(docker_host.publish()), write=True)
    push(docker_host, found)
    return found


@pytest.fixture
def world(docker_host: DockerHost, place: Place, tmp_path: Path, repository: Repository) -> Iterator[World]:
    world = World(tmp_path / "project", docker_host.host, "docker", place.path, place.port(), place.name)
    world.target = {"channel_from": "registry", "image": f"{repository}:canary", "require": "evidence"}
    (world.folder / "evidence.pub").write_bytes(public_pem(KEY))
    yield world
    for container in docker_host.client.containers.list(all=True):
        container.remove(force=True)


def push(docker_host: DockerHost, repository: Repository) -> str:
    """Another image as canary."""
    image = repository.get(parse(docker_host.publish(name=str(repository))).digest)
    repository.put(image, "canary")
    return image.digest


def promote(world: World) -> str:
    with world.cli("promote") as process:
        said, _ = process.communicate(timeout=120)
        return f"{said}\nstatus {process.returncode}"


def serving(docker_host: DockerHost, world: World) -> str:
    found = docker_host.client.api.inspect_container(f"{world.name}-web")
    return str(found["Config"]["Image"]).rpartition("@")[2]


def test_what_the_canary_host_proved_moves_stable_and_is_what_hosts_run(docker_host, world, repository) -> None:
    digest = repository.digest("canary")
    world.web("1")
    with pytest.raises(Refused, match=f"{repository}:stable stands for nothing yet"):
        world.up()
    (planned,) = rollout.plan(world.deployment(), "canary")
    assert planned.plan.images == {f"{repository}:canary": digest}

    world.up("canary")
    evidence = [item.evidence.on_host for item in findings(repository, digest, [KEY.public]) if item.evidence]
    assert [(place.target, place.channel) for place in evidence if place] == [("here", "canary")]
    push(docker_host, repository)  # the tag moves on, and what was proven stays what it is
    told = promote(world)

    assert "status 0" in told, told
    assert repository.digest("stable") == digest == serving(docker_host, world)
    assert [move.new for move in recorded(repository).moves] == [digest]
    images = [entry["images"] for entry in rollout.history(world.deployment())]
    assert images == [{f"{repository}:canary": digest}] * 2
    assert world.up().outcome == "unchanged", "up takes what :stable stands for"


def test_an_image_that_no_host_proved_moves_nothing_whatever_else_was_tried(
    docker_host, world, repository, monkeypatch
) -> None:
    digest = repository.digest("canary")
    made = Evidence(str(repository), digest, (CheckResult("healthcheck", True),), recently(), "ci", "ci")
    store(repository, repository.get(digest), made, KEY)
    monkeypatch.delenv("DEPLOY_EVIDENCE_KEY")
    monkeypatch.setenv("HOME", "/nonexistent")
    world.web("1")
    world.up("canary")
    monkeypatch.setenv("DEPLOY_EVIDENCE_KEY", private_pem(KEY))

    told = promote(world)

    assert "no host of target here proved it" in told
    assert "status 4" in told
    assert not repository.digest("stable")


def recently():
    from datetime import UTC, datetime

    return datetime.now(UTC).replace(microsecond=0)
