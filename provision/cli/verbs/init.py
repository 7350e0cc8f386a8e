"""`deploy init`."""

from __future__ import annotations

from dataclasses import replace

import click

from provision.cli.session import Session
from provision.cli.verb import verb
from provision.project.platforms import OF_IMAGES, OVER_SSH


@verb("init", example="deploy init\ndeploy init --name cres --on ann@gpu.example.net --platform systemd", hosts=False)
@click.option("--name", help="The project's name (default: the folder's).")
@click.option("--on", metavar="[USER@]HOST[:PORT]", help='Where it runs; "sandbox" is a throwaway host here.')
@click.option("--platform", type=click.Choice(OVER_SSH), help="What starts programs there.")
@click.option("--image", metavar="NAME@sha256:…", help="docker: what the containers are made of.")
@click.option("--yes", is_flag=True, help="Ask nothing; take what the folder suggests.")
def command(
    session: Session, name: str | None, on: str | None, platform: str | None, image: str | None, yes: bool
) -> None:
    """Write a commented deploy.toml for the project in this folder.

    It looks for a FastAPI app, a model and a worker, and asks for what it can't see. An existing file is never changed.
    """
    from provision.project import init

    answers = init.propose(session.directory)
    if session.console.is_interactive and not yes:
        name = name or click.prompt("Name of the project", default=answers.name, err=True)
        on = on or click.prompt("Where it runs, [user@]host[:port]", default=answers.host, err=True)
    answers = replace(
        answers,
        name=init.slug(name or answers.name),
        host=on or answers.host,
        platform=platform or (OF_IMAGES[0] if image else answers.platform),
        image=image,
    )
    file = init.write(session.directory, answers)
    found = {"app": answers.app, "model": answers.model, "worker": answers.worker}
    session.console.answer(
        {"event": "result", "file": str(file), "name": answers.name, **found},
        [
            f"wrote {file}",
            *(f"  found {what}: {where}" for what, where in found.items() if where),
            "next: deploy check, then deploy plan",
        ],
    )
