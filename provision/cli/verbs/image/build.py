"""`deploy image build`."""

from __future__ import annotations

import platform as machine
from typing import TYPE_CHECKING

import click

from provision import __version__
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import UsageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from provision.images.build.buildah import BuildahBuilder
    from provision.images.build.engine import DockerBuilder, OnEvent
    from provision.images.build.image import Built
    from provision.images.build.lock import Lock
    from provision.workbench import Workbench

_PLATFORMS = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}


@verb("build", example="deploy image build bitnet-cpu-min", hosts=False)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--platform", help="linux/amd64 or linux/arm64 (default: this machine's).")
@click.option("--builder", default="docker", show_default=True, help="docker, buildah, or an engine: ssh://user@host.")
@click.option("--base", "bases", metavar="NAME=IMAGE", multiple=True, help="Instead of the base in images/lock.json.")
@click.option(
    "--compile",
    "compile_in",
    type=click.Choice(["host", "container"]),
    default="host",
    show_default=True,
    help="With this machine's compilers, or with those of images/builder in a container.",
)
@click.option("--define", metavar="NAME=VALUE", multiple=True, help="A CMake variable for the programs; repeatable.")
@click.option("--load/--no-load", default=True, help="Whether the engine has it afterwards, as NAME:built.")
def command(
    session: Session,
    names: tuple[str, ...],
    platform: str | None,
    builder: str,
    bases: tuple[str, ...],
    compile_in: str,
    define: tuple[str, ...],
    load: bool,
) -> None:
    """Build images of images/ into build/images/NAME/oci, with bill of materials and build record.

    The same commit gives the same digest, whichever builder made it. Programs are compiled once
    (`deploy native build`), packages are those that images/NAME/ pins; the builder itself needs no network. With
    --compile container the digest does not depend on this machine's compilers either.
    """
    from contextlib import ExitStack

    from provision.cli.verbs.image.parts import gather, image_cache
    from provision.images.build import bake, lock
    from provision.images.build.image import build, check_platform, revision

    root = session.directory.absolute()
    recipes = [bake.find(root, name) for name in names]
    wanted = platform or _PLATFORMS.get(machine.machine(), "linux/amd64")
    for recipe in recipes:
        check_platform(recipe, wanted)
    locked, commit, with_builder = lock.read(root), revision(root), _builder(builder)
    replaced = dict(item.partition("=")[::2] for item in bases)
    variables = dict(item.partition("=")[::2] for item in define)
    with session.console.live(), ExitStack() as stack:
        workbench = None
        if compile_in == "container" and any(recipe.programs for recipe in recipes):
            box = _compilers(with_builder, replaced.get("builder", ""), root, locked, session.console.event)
            workbench = stack.enter_context(box)
        for recipe in recipes:
            built = build(
                recipe,
                gather(recipe, wanted, root, session.console.event, workbench=workbench, define=variables),
                with_builder,
                root=root,
                base=replaced.get(recipe.base) or (locked.base(recipe.base) if recipe.base else ""),
                revision=commit,
                version=__version__,
                platform=wanted,
                cache=image_cache() / "layers",
                on_event=session.console.event,
            )
            loaded = _load(with_builder, built) if load else ""
            _answer(session, built, loaded)


def _builder(name: str) -> DockerBuilder | BuildahBuilder:
    if name == "buildah":
        from provision.images.build.buildah import BuildahBuilder

        return BuildahBuilder()
    from provision.images.build.engine import DockerBuilder, connect

    if name != "docker" and "://" not in name:
        raise UsageError(f"{name} is no builder.", next_step="--builder docker, buildah or ssh://user@host")
    return DockerBuilder(connect("" if name == "docker" else name))


def _compilers(
    builder: DockerBuilder | BuildahBuilder, image: str, root: Path, locked: Lock, on_event: OnEvent
) -> AbstractContextManager[Workbench]:
    """The container of `image`, else of the one that images/builder describes."""
    from provision.cli.verbs.image.parts import image_cache
    from provision.images.build.compilers import builder_image, compilers
    from provision.images.build.engine import DockerBuilder

    if not isinstance(builder, DockerBuilder):
        raise UsageError("compiling in a container needs a Docker Engine.", next_step="--builder docker")
    if not image:
        image = builder_image(builder.client, root, locked.base("python"), on_event)
    return compilers(builder.client, image, root, image_cache().parent)


def _load(builder: DockerBuilder | BuildahBuilder, built: Built) -> str:
    """The engine's name of the image; buildah has no engine."""
    from provision.images.build.engine import DockerBuilder
    from provision.images.smoke.pull import load

    if not isinstance(builder, DockerBuilder):
        return ""
    load(builder.client, built.layout, built.recipe.name)
    return f"{built.recipe.name}:built"


def _answer(session: Session, built: Built, loaded: str) -> None:
    from provision.cli.sentences import size

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
