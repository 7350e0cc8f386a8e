"""`deploy native`."""

from __future__ import annotations

from pathlib import Path

import click

from provision.cli.session import Session
from provision.cli.verb import verb


@click.group("native")
def command() -> None:
    """Build the llama.cpp and BitNet programs from pinned sources."""


@verb("build", example="deploy native build --profile portable --only llama-server", hosts=False)
@click.option("--profile", default="native", show_default=True, help="native, portable, dynamic, min or cuda.")
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
    from provision import native

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


command.add_command(build)
