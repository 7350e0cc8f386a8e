"""Images of images/, from their recipes into build/images; `deploy image build` and its task."""

from __future__ import annotations

import platform as machine
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from provision import __version__
from provision.cli.parts import gather, image_cache
from provision.cli.session import Session
from provision.errors import UsageError
from provision.images.build import bake, lock
from provision.images.build.buildah import BuildahBuilder
from provision.images.build.compilers import builder_image, compilers
from provision.images.build.engine import DockerBuilder, OnEvent, connect
from provision.images.build.image import Built, build, check_platform, revision, take
from provision.images.build.lock import Lock
from provision.images.registry.architectures import ARCHITECTURES
from provision.images.smoke.pull import load as load_image
from provision.project.units import size
from provision.workbench import Workbench


def build_images(
    session: Session,
    names: Iterable[str],
    *,
    platform: str | None = None,
    builder: str = "docker",
    bases: Iterable[str] = (),
    compile_in: str = "host",
    source: str = "",
    define: Iterable[str] = (),
    load: bool = True,
) -> None:
    """Build each of `names`, and tell its digest.

    Args:
        platform: such as linux/arm64; this machine's by default.
        builder: docker, buildah, or an engine as `ssh://user@host`.
        bases: `NAME=IMAGE`, instead of the base in images/lock.json.
        compile_in: "host", or "container" for the compilers of images/builder.
        source: of the programs, as `deploy native build --source` takes it; empty for what each image.toml says.
        define: `NAME=VALUE`, CMake variables for the programs.
        load: whether the engine has the image afterwards, as `NAME:built`.

    Raises:
        UsageError: a recipe, a builder or a tool is missing.
        DeployError: something could not be had, or does not build.
    """
    root = session.directory.absolute()
    replaced = dict(item.partition("=")[::2] for item in bases)
    recipes = bake.with_bases(root, names, replaced)
    wanted = platform or f"linux/{ARCHITECTURES.get(machine.machine(), 'amd64')}"
    for recipe in recipes:
        check_platform(recipe, wanted)
    locked, commit, with_builder = lock.read_lock(root), revision(root), _builder(builder)
    variables = dict(item.partition("=")[::2] for item in define)
    with session.console.live(), ExitStack() as stack:
        workbench = None
        if compile_in == "container" and any(recipe.programs for recipe in recipes):
            box = _compilers(with_builder, replaced.get("builder", ""), root, locked, session.console.event)
            workbench = stack.enter_context(box)
        built: dict[str, Built] = {}
        for recipe in recipes:
            on = built.get(recipe.base)
            made = built[recipe.name] = build(
                recipe,
                gather(
                    recipe, wanted, root, session.console.event, workbench=workbench, source=source, define=variables
                ),
                with_builder,
                root=root,
                base=take(with_builder, on) if on else replaced.get(recipe.base) or locked.base(recipe.base),
                on=on,
                revision=commit,
                version=__version__,
                platform=wanted,
                cache=image_cache() / "layers",
                on_event=session.console.event,
            )
            _answer(session, made, _load(with_builder, made) if load else "")


def _builder(name: str) -> DockerBuilder | BuildahBuilder:
    if name == "buildah":
        return BuildahBuilder()
    if name != "docker" and "://" not in name:
        raise UsageError(f"{name} is no builder.", next_step="--builder docker, buildah or ssh://user@host")
    return DockerBuilder(connect("" if name == "docker" else name))


def _compilers(
    builder: DockerBuilder | BuildahBuilder, image: str, root: Path, locked: Lock, on_event: OnEvent
) -> AbstractContextManager[Workbench]:
    """The container of `image`, else of the one that images/builder describes."""
    if not isinstance(builder, DockerBuilder):
        raise UsageError("compiling in a container needs a Docker Engine.", next_step="--builder docker")
    if not image:
        image = builder_image(builder.client, root, locked.base("python"), on_event)
    return compilers(builder.client, image, root, image_cache().parent)


def _load(builder: DockerBuilder | BuildahBuilder, built: Built) -> str:
    """The engine's name of the image; buildah has no engine."""
    if not isinstance(builder, DockerBuilder):
        return ""
    load_image(builder.client, built.layout, built.recipe.name)
    return f"{built.recipe.name}:built"


def _answer(session: Session, built: Built, loaded: str) -> None:
    layout = built.layout
    session.console.answer(
        {
            "event": "result",
            "image": built.recipe.name,
            "digest": layout.manifest.digest,
            "layout": str(layout.folder),
            "bytes": layout.bytes_,
            "sbom": str(built.sbom),
            "record": str(built.record),
            "loaded": loaded,
        },
        [
            f"{built.recipe.name}@{layout.manifest.digest}",
            f"  {size(layout.bytes_)} compressed in {layout.folder}" + (f", loaded as {loaded}" if loaded else ""),
        ],
    )
