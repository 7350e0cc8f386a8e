"""The images of this repository, built as `deploy image build` does, into a folder of the test's own."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

from provision.cli.parts import gather, image_cache
from provision.images.build import bake
from provision.images.build.image import Builder, Built, Revision, build
from tests.native.conftest import Told

REPOSITORY = Path(__file__).parents[3]
COMMIT = Revision("c" * 40, 1_700_000_000, "https://example.net/app.git")
BASE = "bitnet-test-base:1"


def build_image(
    name: str, builder: Builder, to: Path, *, root: Path = REPOSITORY, profile: str = "", told: Told | None = None
) -> Built:
    """`profile`: with programs of that one, instead of those that the image is meant to hold."""
    recipe = bake.find(root, name)
    recipe = replace(recipe, context=to / name / "context", profile=profile or recipe.profile)
    told = Told() if told is None else told
    return build(
        recipe,
        gather(recipe, "linux/amd64", root, told),
        builder,
        root=root,
        base=BASE if recipe.base else "",
        revision=COMMIT,
        version="1.2.3",
        platform="linux/amd64",
        cache=image_cache() / "layers",
        on_event=told,
    )


def files(built: Built, layer: int) -> dict[str, tarfile.TarInfo]:
    digest = built.layout.manifest.document["layers"][layer]["digest"]
    with tarfile.open(built.layout.blob(digest)) as content:
        return {entry.name.removeprefix("./"): entry for entry in content}


def own_layers(built: Built) -> list[dict[str, tarfile.TarInfo]]:
    first = 1 if built.recipe.base else 0
    return [files(built, layer) for layer in range(first, len(built.layout.manifest.document["layers"]))]
