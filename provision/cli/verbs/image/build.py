"""`deploy image build`."""

from __future__ import annotations

import click

from provision.cli.session import Session
from provision.cli.verb import verb


@verb(
    "build",
    example="deploy image build bitnet-cpu-min\ndeploy image build bitnet-cpu-min --source ../BitNet",
    hosts=False,
)
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
@click.option(
    "--source",
    default="",
    metavar="DIR",
    help="A checkout of microsoft/BitNet or llama.cpp; bitnet[@REV] clones it (default: as image.toml says).",
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
    source: str,
    define: tuple[str, ...],
    load: bool,
) -> None:
    """Build images of images/ into build/images/NAME/oci, with bill of materials and build record.

    The same commit gives the same digest, whichever builder made it. Programs are compiled once
    (`deploy native build`), packages are those that images/NAME/ pins; the builder itself needs no network. With
    --compile container the digest does not depend on this machine's compilers either.
    """
    from provision.cli.building import build_images

    build_images(
        session,
        names,
        platform=platform,
        builder=builder,
        bases=bases,
        compile_in=compile_in,
        source=source,
        define=define,
        load=load,
    )
