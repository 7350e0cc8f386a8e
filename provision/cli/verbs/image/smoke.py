"""`deploy image smoke`."""

from __future__ import annotations

from pathlib import Path

import click

from provision.cli.session import Session
from provision.cli.verb import verb


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
    from provision.cli.smoking import smoke_image

    smoke_image(
        session,
        image,
        report=report,
        engine=engine,
        model=model,
        memory=memory,
        cpus=cpus,
        network=network,
        variables=variables,
        paths=paths,
        ports=ports,
        commands=commands,
        queues=queues,
        drain=drain,
    )
