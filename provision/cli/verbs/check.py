"""`deploy check`."""

from __future__ import annotations

from pathlib import Path

import click

from provision.cli.session import Session, declared_targets
from provision.cli.verb import verb
from provision.errors import Exit, UsageError

_EXAMPLE = """\
deploy check
deploy check --target vast
deploy check --production --sarif deploy.sarif"""


@verb("check", example=_EXAMPLE, hosts=False)
@click.option("-t", "--target", "only", metavar="NAME", help="Only what this target needs (default: all of them).")
@click.option("--production", is_flag=True, help="Judge it by the production checklist, too, and list its rules.")
@click.option(
    "--sarif",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="--production: write what it found there, for code scanning.",
)
def command(session: Session, only: str | None, production: bool, sarif: Path | None) -> int:
    """Say whether deploy.toml and .env are sound.

    Every problem is named with its file, line and column, values too that a target's files cannot hold. What looks like
    a secret and is declared as none is warned about. No host is contacted, and no command that gives a secret is run.

    With --production, each rule of the checklist passes, warns or fails, with the line to change, why and how. The exit
    status is 1 where one fails. Secrets need not be set for it, so that CI can ask.
    """
    from provision.cli.production import exposed
    from provision.manifests.refusals import refusals
    from provision.project import load
    from provision.project.located import declaration_error
    from provision.release.engines import engines, unreadable

    if sarif and not production:
        raise UsageError("--sarif writes what --production finds.", next_step="deploy check --production --sarif FILE")
    loaded = load(session.directory, target=only, demand_secrets=not production, ask_commands=False)
    if production:
        from provision.cli.production import report

        return report(session.console, loaded, sarif)
    project = loaded.project
    refused = refusals(project, project.targets.values(), loaded.root, loaded.secrets)
    refused += unreadable(project, loaded.root)
    if refused:
        raise declaration_error(refused, loaded.declaration)
    for problem in exposed(loaded):
        session.console.event({"event": "warning", "host": "", "text": str(problem)})
    services = ", ".join(project.services)
    targets = ", ".join([only] if only else declared_targets(session.directory)) or "none"
    served = engines(project, loaded.root)
    session.console.answer(
        {
            "event": "result",
            "project": project.name,
            "services": [*project.services],
            "targets": [*project.targets],
            "engines": served,
        },
        [
            f"{project.name} is sound. Services: {services}. Targets: {targets}.",
            *(f"  {name}: {sentence}" for name, sentence in served.items()),
        ],
    )
    return Exit.DONE
