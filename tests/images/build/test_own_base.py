"""Images that are based on others of ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from provision.errors import UsageError
from provision.images.build import bake
from provision.images.build.buildah import BuildahBuilder
from provision.images.build.context import Parts
from provision.images.build.engine import DockerBuilder
from provision.images.build.image import Builder, Built, build, take
from tests.images.build.make import COMMIT, REPOSITORY
from tests.native.conftest import Told

RECIPE = """\
title = "{name}"
description = "."
licenses = "MIT"
platforms = ["linux/amd64"]
base = "{base}"
"""


def declare(root: Path, **bases: str) -> None:
    targets = {}
    for name, base in bases.items():
        app = root / "images" / name / "app"
        app.mkdir(parents=True)
        (app / f"{name}.txt").write_text(name)
        (app.parent / "Dockerfile").write_text(
            f"{'ARG BASE' if base else ''}\nFROM {'${BASE}' if base else 'scratch'}\nCOPY app/ /\n"
        )
        (app.parent / "image.toml").write_text(RECIPE.format(name=name, base=base))
        targets[name] = {"context": f"build/images/{name}/context"}
    (root / "images/docker-bake.json").write_text(json.dumps({"target": targets}))


def made(name: str, root: Path, builder: Builder, on: Built | None) -> Built:
    return build(
        bake.find(root, name),
        Parts(None, None, None, []),
        builder,
        root=root,
        base=take(builder, on) if on else "",
        on=on,
        revision=COMMIT,
        version="1",
        platform="linux/amd64",
        cache=root / "layers",
        on_event=Told(),
    )


def test_an_image_stands_on_one_of_ours_byte_for_byte_whichever_builder_made_both(
    builder: DockerBuilder, buildah: BuildahBuilder, tmp_path: Path
) -> None:
    found = []
    for number, each in enumerate((builder, buildah)):
        root = tmp_path / str(number)
        declare(root, app="ground", ground="")
        ground = made("ground", root, each, None)
        found.append((ground, made("app", root, each, ground)))

    ((ground, app), (other_ground, other_app)) = found
    below, above = (built.layout.manifest.document["layers"] for built in (ground, app))
    assert above[:-1] == below
    labels = app.layout.config["config"]["Labels"]
    assert labels["org.opencontainers.image.base.name"] == "ground"
    assert labels["org.opencontainers.image.base.digest"] == ground.layout.manifest.digest
    assert json.loads(app.record.read_text())["base"] == f"ground@{ground.layout.manifest.digest}"
    assert other_ground.layout.manifest.digest == ground.layout.manifest.digest
    assert other_app.layout.manifest.digest == app.layout.manifest.digest


def test_what_an_image_is_based_on_is_built_before_it_and_once(tmp_path: Path) -> None:
    declare(tmp_path, app="middle", other="middle", middle="ground", ground="")

    def names(*wanted: str, given: tuple[str, ...] = ()) -> list[str]:
        return [recipe.name for recipe in bake.with_bases(tmp_path, wanted, given)]

    assert names("app", "other", "ground") == ["ground", "middle", "app", "other"]
    assert names("app", given=("middle",)) == ["app"]
    with pytest.raises(UsageError, match="there is no image none"):
        names("none")


def test_an_image_that_is_based_on_itself_is_refused(tmp_path: Path) -> None:
    declare(tmp_path, a="b", b="a")

    with pytest.raises(UsageError, match="is based on itself"):
        bake.with_bases(tmp_path, ["a"])


def test_ci_builds_the_base_of_its_application() -> None:
    assert [recipe.name for recipe in bake.with_bases(REPOSITORY, ["minimal"])] == ["minimal-base", "minimal"]
