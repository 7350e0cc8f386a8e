"""`deploy image promote`."""

from __future__ import annotations

from pathlib import Path

import click

from provision.cli.registry import CANARY, STABLE, channel_of, dry_run_option, judge, key_option, open_both
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import UsageError


@verb("promote", example="deploy image promote app --dry-run\ndeploy image promote app", hosts=False)
@click.argument("name")
@click.option("--from", "origin", default=CANARY, metavar="TAG", help="Tag, digest or REGISTRY/REPOSITORY:TAG.")
@click.option("--to", "goal", default=STABLE, metavar="TAG", help="Tag or REGISTRY/REPOSITORY:TAG (default: stable).")
@dry_run_option
@key_option
def command(session: Session, name: str, origin: str, goal: str, dry_run: bool, key: Path | None) -> None:
    """Move a channel to exactly the bytes that were proven.

    NAME is an image of promotion.toml, or REGISTRY/REPOSITORY. Nothing is built, pulled or pushed: the same manifest
    gets a second name, if signed evidence about that very digest passes and the rules of promotion.toml are met.
    """
    from provision.cli.render.promotion import show_done, show_plan
    from provision.images.promotion.declared import find_image, policy_of
    from provision.images.promotion.move import apply, plan_promotion

    declared = find_image(session.directory, name)
    origin_, goal_ = (
        channel_of(text, declared.repository, option) for text, option in ((origin, "--from"), (goal, "--to"))
    )
    if goal_.digest:
        raise UsageError(f"--to {goal} is a digest, which cannot be moved.", next_step=f"--to {STABLE}")
    decides = judge(session.directory, policy_of(session.directory, goal_) or declared.policy, key)
    source, target = open_both(origin_, goal_)
    plan = plan_promotion(source, origin_.wanted, target, goal_.tag, decides)
    show_plan(session.console, plan)
    if dry_run:
        plan.demand()
    else:
        with session.console.live():
            apply(plan, decides, session.console.event)
    show_done(session.console, plan, dry_run=dry_run)
