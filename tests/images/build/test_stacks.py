"""Images of services that are no model server alone: built, tried, and run as their users run them."""

from __future__ import annotations

import json
import tarfile
import time
from pathlib import Path

import pytest
from docker.models.containers import Container

from provision.images.build import Built
from provision.images.build_buildah import BuildahBuilder
from provision.images.build_engine import DockerBuilder
from provision.images.smoke import Wanted, smoke
from provision.images.smoke_pull import load
from provision.native.model import write_demo_model
from tests.images.build.make import build_image
from tests.native.conftest import Told
from tests.testbed.docker import Engine


@pytest.fixture(scope="module")
def rollout(builder: DockerBuilder, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build_image("rollout-server", builder, tmp_path_factory.mktemp("rollout"))


def tried(engine: Engine, built: Built, model: Path | None = None, wanted: Wanted | None = None) -> dict[str, object]:
    """The checks that the image passed, with what each found."""
    image = load(engine.client, built.layout, built.recipe.name)
    digest = built.layout.manifest.digest
    report = smoke(engine.client, image, built.recipe.name, digest, model, wanted or Wanted(drain_seconds=120), Told())
    assert report.failed is None, report
    assert engine.client.containers.list(all=True) == []
    assert engine.client.volumes.list() == []
    return {check.name: check.facts for check in report.checks}


def test_a_server_without_a_model_is_tried_without_a_completion(engine: Engine, rollout: Built) -> None:
    assert list(tried(engine, rollout)) == ["boot", "not root", "healthcheck", "drain"]


def test_one_that_writes_to_a_volume_has_the_same_digest_from_both_builders(
    rollout: Built, buildah_with_base: BuildahBuilder, tmp_path: Path
) -> None:
    other = build_image("rollout-server", buildah_with_base, tmp_path)

    assert other.layout.manifest.digest == rollout.layout.manifest.digest


def test_its_packages_are_those_that_are_pinned_and_each_is_in_the_bill_of_materials(rollout: Built) -> None:
    pinned = (rollout.recipe.folder / rollout.recipe.requirements).read_text()
    names = {line.partition("==")[0] for line in pinned.splitlines() if "==" in line and not line.startswith(" ")}
    document = json.loads(rollout.sbom.read_text())

    found = {
        reference["referenceLocator"].removeprefix("pkg:pypi/").partition("@")[0]
        for package in document["packages"]
        for reference in package.get("externalRefs", [])
        if reference["referenceLocator"].startswith("pkg:pypi/")
    }
    assert found == names
