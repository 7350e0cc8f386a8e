"""`deploy native`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from provision import native
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import UsageError


@click.group("native")
def command() -> None:
    """Build the llama.cpp and BitNet programs from pinned sources."""


@verb("build", example="deploy native build --profile portable --only llama-server", hosts=False)
@click.option("--profile", default="native", show_default=True, help="One of `deploy native profiles`.")
@click.option("--only", "targets", metavar="PROGRAM", multiple=True, help="Only this program; repeatable.")
@click.option("--source", metavar="DIR", help="A checkout of microsoft/BitNet or llama.cpp; bitnet[@REV] clones it.")
@click.option("--define", metavar="NAME=VALUE", multiple=True, help="A CMake variable; repeatable.")
@click.option(
    "--toolkit", default="", metavar="DIR|pinned", help="CUDA's (default: nvcc's); pinned: from PyPI, by hash."
)
@click.option("--jobs", type=click.IntRange(min=1), help="Compilers at once (default: what cores and memory allow).")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Where bin/ goes (default: build).")
def build(
    session: Session,
    profile: str,
    targets: tuple[str, ...],
    source: str | None,
    define: tuple[str, ...],
    toolkit: str,
    jobs: int | None,
    out: Path | None,
) -> None:
    """Compile llama-server and its siblings into build/bin.

    The sources are pinned and hash-checked. What was compiled once is not compiled again, for any checkout.
    """
    if wrong := [item for item in define if "=" not in item]:
        raise UsageError(f"--define {wrong[0]}: a CMake variable is NAME=VALUE.")
    with session.console.live():
        result = native.build(
            profile,
            targets=targets or native.TARGETS,
            source=source,
            root=session.directory.absolute(),
            out=out,
            define=dict(item.partition("=")[::2] for item in define),
            toolkit=toolkit,
            jobs=jobs,
            on_event=session.console.event,
        )
    binaries = {name: str(path) for name, path in result.binaries.items()}
    session.console.answer(
        {"event": "result", "profile": profile, "compiled": result.compiled, "binaries": binaries, "key": result.key},
        [*binaries.values(), str(result.record)],
    )


@verb("model", example="deploy native model models/model.gguf", project=False, hosts=False)
@click.argument("path", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--size", type=click.Choice(["demo", "2b4t"]), default="demo", help="2b4t: for benchmarks, 1.2 GB.")
@click.option(
    "--type",
    "ternary",
    type=click.Choice(["TQ2_0", "I2_S"]),
    default="TQ2_0",
    show_default=True,
    help="Of its matrices; I2_S is for microsoft/BitNet's programs.",
)
def model(session: Session, path: Path, size: Literal["demo", "2b4t"], ternary: Literal["TQ2_0", "I2_S"]) -> None:
    """Write the demo's model: random ternary weights, which prove the path, not the prose."""
    from provision.native.model import write_demo_model

    facts = write_demo_model(path, size, ternary)
    session.console.answer(
        {"event": "result", "path": str(facts.path), "bytes": facts.bytes, "sha256": facts.sha256},
        f"{facts.path}: {facts.name}, {facts.bytes} bytes, sha256 {facts.sha256}",
    )


@verb("profiles", example="deploy native profiles", project=False, hosts=False)
def profiles(session: Session) -> None:
    """List the profiles that can be built, and where each runs."""
    for profile in native.profiles().values():
        session.console.answer(
            {"event": "profile", "name": profile.name, "variables": dict(profile.variables)},
            [f"{profile.name:<9} {profile.summary}", f"          {profile.description}"],
        )


for each in (build, model, profiles):
    command.add_command(each)
