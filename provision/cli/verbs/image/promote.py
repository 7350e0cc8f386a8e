"""`deploy image promote`."""

from __future__ import annotations

from pathlib import Path

import click

from provision.cli.channels import CANARY, STABLE, promote
from provision.cli.github.forks import refuse_fork
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.cli.verbs.image import dry_run_option, key_option, private_option


@verb("promote", example="deploy image promote app --dry-run\ndeploy image promote app", hosts=False)
@click.argument("name")
@click.option("--from", "origin", default=CANARY, metavar="TAG", help="Tag, digest or REGISTRY/REPOSITORY:TAG.")
@click.option("--to", "goal", default=STABLE, metavar="TAG", help="Tag or REGISTRY/REPOSITORY:TAG (default: stable).")
@dry_run_option
@key_option
@private_option
@click.option("--anew", is_flag=True, help="Begin the channel's history here, where it is unsigned, broken or gone.")
def command(
    session: Session,
    name: str,
    origin: str,
    goal: str,
    dry_run: bool,
    key: Path | None,
    private: Path | None,
    anew: bool,
) -> None:
    """Move a channel to exactly the bytes that were proven.

    NAME is an image of promotion.toml, or REGISTRY/REPOSITORY. Nothing is built, pulled or pushed: the same manifest
    gets a second name, if signed evidence about that very digest passes and the rules of promotion.toml are met. The
    move is signed and written down; --anew sets aside what was written down before.
    """
    if not dry_run:
        refuse_fork("nothing is promoted")
    promote(session, name, origin, goal, dry_run=dry_run, key=key, private=private, anew=anew)
