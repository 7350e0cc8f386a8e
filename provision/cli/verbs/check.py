"""`deploy check`."""

from __future__ import annotations

from pathlib import Path

import click

from provision.cli.session import Session
from provision.cli.verb import verb

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
    from provision.cli.checking import check

    return check(session, only, production=production, sarif=sarif)
