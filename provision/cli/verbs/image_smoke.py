"""`deploy image smoke`."""

from __future__ import annotations

import shlex
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import DeployError

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image


@verb("smoke", example="deploy image smoke ghcr.io/owner/bitnet-cpu-min:canary --report smoke.json", hosts=False)
@click.argument("image")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Where the results go.")
@click.option("--engine", default="", help="Which Docker Engine (default: DOCKER_HOST, or this machine's).")
@click.option(
    "--model", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A GGUF file (default: the demo's)."
)
@click.option("--memory", default=1 << 30, show_default=True, help="Bytes that it may use.")
@click.option("--cpus", default=2.0, show_default=True, help="Processor cores that it may use.")
@click.option("--network", default="none", show_default=True, help="A network of the engine, where it needs one.")
@click.option("--http", "paths", metavar="PATH", multiple=True, help="Must answer 2xx too; repeatable.")
@click.option("--exec", "commands", metavar="COMMAND", multiple=True, help="Must succeed inside; repeatable.")
@click.option("--drain", default=30.0, show_default=True, help="Seconds that it may take to end after SIGTERM.")
def command(
    session: Session,
    image: str,
    report: Path | None,
    engine: str,
    model: Path | None,
    memory: int,
    cpus: float,
    network: str,
    paths: tuple[str, ...],
    commands: tuple[str, ...],
    drain: float,
) -> None:
    """Boot an image as in production, and ask it for a completion.

    IMAGE is one in a registry, or the name of one that `deploy image build` made here. Its own entrypoint runs, as its
    own user, with limits, a read-only root and no network; its HEALTHCHECK must pass, its metrics count, and SIGTERM
    end it. The results, with the digest that was tried, are what `deploy image attest` signs.
    """
    from provision.images.build_engine import connect
    from provision.images.smoke import Wanted, smoke
    from provision.images.smoke_container import Limits
    from provision.native.model import write_demo_model

    client = connect(engine)
    wanted = Wanted(
        Limits(memory, cpus, network), drain_seconds=drain, paths=paths, commands=[*map(shlex.split, commands)]
    )
    with ExitStack() as stack:
        stack.enter_context(session.console.live())
        found, name, digest = _image(session.directory, client, image)
        if model is None:
            model = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "demo.gguf"
            write_demo_model(model)
        results = smoke(client, found, name, digest, model, wanted, session.console.event)
    if report is not None:
        results.write(report)
    if failed := results.failed:
        raise DeployError(
            f"{name}@{digest}: {failed.name} failed.",
            why=str(failed.facts.get("why", "")),
            log=results.log,
            details={"image": name, "digest": digest, "check": failed.name, "report": str(report or "")},
        )
    session.console.answer(
        {"event": "result", "image": name, "digest": digest, "passed": True, "report": str(report or "")},
        [
            f"passed: {len(results.checks)} checks of {name}@{digest}",
            *([f"next: deploy image attest {name}@{digest} --report {report}"] if report else []),
        ],
    )


def _image(root: Path, client: DockerClient, wanted: str) -> tuple[Image, str, str]:
    """The image as the engine has it, its name and its digest: pulled by digest, or loaded as it was built."""
    from provision.images.build_layout import Layout
    from provision.images.smoke_pull import load, pull

    built = root / "build" / "images" / wanted / "oci"
    if "/" not in wanted and (built / "index.json").is_file():
        layout = Layout(built)
        return load(client, layout, wanted), wanted, layout.manifest.digest
    return pull(client, wanted)
