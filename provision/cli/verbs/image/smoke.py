"""`deploy image smoke`."""

from __future__ import annotations

import os
import shlex
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import DeployError, UsageError

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
@click.option(
    "--env", "variables", metavar="NAME[=VALUE]", multiple=True, help="NAME alone: as it is here; repeatable."
)
@click.option("--http", "paths", metavar="PATH", multiple=True, help="Must answer 2xx too; repeatable.")
@click.option("--tcp", "ports", metavar="PORT", type=click.IntRange(1, 65535), multiple=True, help="Must listen too.")
@click.option("--exec", "commands", metavar="COMMAND", multiple=True, help="Must succeed inside; repeatable.")
@click.option("--queue", "queues", metavar="NAME", multiple=True, help="Must have its worker in Temporal; repeatable.")
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
    variables: tuple[str, ...],
    paths: tuple[str, ...],
    ports: tuple[int, ...],
    commands: tuple[str, ...],
    queues: tuple[str, ...],
    drain: float,
) -> None:
    """Boot an image as in production, and ask it for a completion.

    IMAGE is one in a registry, or the name of one that `deploy image build` made here. Its own entrypoint runs, as its
    own user, with limits, a read-only root and no network; its HEALTHCHECK must pass, its metrics count, and SIGTERM
    end it. The results, with the digest that was tried, are what `deploy image attest` signs.

    Checks that its image.toml declares run as well. --queue asks the Temporal server that the program `temporal` is set
    up for (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, …); give the container --network and --env to reach it.
    """
    from provision.images.build.checks import Declared
    from provision.images.build.engine import connect
    from provision.images.smoke.container import Limits
    from provision.images.smoke.run import Wanted, smoke
    from provision.native.model import write_demo_model

    client = connect(engine)
    checks = [
        *(Declared("http", path) for path in paths),
        *(Declared("tcp", port) for port in ports),
        *(Declared("command", tuple(shlex.split(line))) for line in commands),
        *(Declared("queue", name) for name in queues),
    ]
    limits = Limits(memory, cpus, network, _environment(variables))
    wanted = Wanted(limits, drain_seconds=drain, checks=checks)
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


def _environment(variables: tuple[str, ...]) -> dict[str, str]:
    """As `docker run --env` has it, so that a secret need not stand in an argument."""
    given = dict(item.split("=", 1) for item in variables if "=" in item)
    names = [item for item in variables if "=" not in item]
    if missing := [name for name in names if name not in os.environ]:
        raise UsageError(f"--env {missing[0]}: there is no such variable here.", next_step=f"--env {missing[0]}=VALUE")
    return {name: os.environ[name] for name in names} | given


def _image(root: Path, client: DockerClient, wanted: str) -> tuple[Image, str, str]:
    """The image as the engine has it, its name and its digest: pulled by digest, or loaded as it was built."""
    from provision.images.build.layout import Layout
    from provision.images.smoke.pull import load, pull

    built = root / "build" / "images" / wanted / "oci"
    if "/" not in wanted and (built / "index.json").is_file():
        layout = Layout(built)
        return load(client, layout, wanted), wanted, layout.manifest.digest
    return pull(client, wanted)
