"""`deploy init`."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provision.cli.session import Session
from provision.cli.verb import verb
from provision.engines import IN_IMAGE
from provision.errors import DeployError
from provision.project.environment import read_environment
from provision.project.platforms import OF_IMAGES, OVER_SSH
from provision.project.sandbox import SANDBOX

if TYPE_CHECKING:
    from provision.project.init import Answers


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
    if answers.model and _has_server(session.directory, answers):
        answers = replace(answers, server=IN_IMAGE)
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


def _has_server(directory: Path, answers: Answers) -> bool:
    """Whether the host is made of one of llama.cpp's images, as far as it lets us in without a question."""
    from provision.hosts import connect, parse_hosts

    known = read_environment(directory / ".env", ".env", os.environ, required=False).variables
    host, identity = (
        re.sub(r"\$\{(\w+)\}", lambda named: known.get(named[1], ""), text) for text in (answers.host, answers.identity)
    )
    if answers.host == SANDBOX or host == "root@:":
        return False
    try:
        key = Path(identity).expanduser() if "VAST_" in answers.host else None
        (spec,) = parse_hosts([host], identity=key, known_hosts=(directory / "known_hosts",), connect_timeout=5)
        with connect(spec, retries=0) as connection:
            return connection.run(["test", "-x", IN_IMAGE], timeout=20).rc == 0
    except (DeployError, OSError, ValueError):
        return False
