"""`deploy image rollback`."""

from __future__ import annotations

from pathlib import Path

import click

from provision.cli.channels import STABLE, carry_out, channel_of, judge
from provision.cli.github.forks import refuse_fork
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.cli.verbs.image import dry_run_option, key_option, private_option
from provision.errors import UsageError
from provision.images import connect, parse
from provision.images.promotion.declared import find_image
from provision.images.promotion.move import plan_rollback
from provision.images.promotion.signing import own_key


@verb("rollback", example="deploy image rollback app", hosts=False)
@click.argument("name")
@click.option("--to", "goal", default=STABLE, metavar="TAG", help="The channel (default: stable).")
@click.option("--digest", default="", metavar="DIGEST", help="Back to this one (default: what stood there before).")
@dry_run_option
@key_option
@private_option
def command(
    session: Session, name: str, goal: str, digest: str, dry_run: bool, key: Path | None, private: Path | None
) -> None:
    """Move a channel back to what it stood for before.

    The earlier image still needs evidence that passes; its age does not matter. A second rollback goes further back.
    """
    if not dry_run:
        refuse_fork("nothing is rolled back")
    declared = find_image(session.directory, name)
    channel = channel_of(goal, declared.repository, "--to")
    if channel.name != declared.repository.name or channel.digest:
        raise UsageError(f"--to {goal} is not a channel of {declared.repository.name}.", next_step=f"--to {STABLE}")
    if digest:
        parse(f"{channel.name}@{digest}")
    decides = judge(session.directory, declared.policy, key, None if dry_run else own_key(private))
    plan = plan_rollback(connect(channel, write=True), channel.tag, digest, decides)
    carry_out(session, plan, decides, dry_run=dry_run)
