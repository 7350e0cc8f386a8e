"""`deploy check`."""

from __future__ import annotations

import click

from provision.cli.session import Session, declared_targets
from provision.cli.verb import verb


@verb("check", example="deploy check\ndeploy check --target vast", hosts=False)
@click.option("-t", "--target", "only", metavar="NAME", help="Only what this target needs (default: all of them).")
def command(session: Session, only: str | None) -> None:
    """Say whether deploy.toml and .env are sound.

    Every problem is named with its file, line and column. No host is contacted.
    """
    from provision.project import load

    project = load(session.directory, target=only).project
    services = ", ".join(project.services)
    targets = ", ".join([only] if only else declared_targets(session.directory)) or "none"
    session.console.answer(
        {"event": "result", "project": project.name, "services": [*project.services], "targets": [*project.targets]},
        f"{project.name} is sound. Services: {services}. Targets: {targets}.",
    )
