"""`deploy image lock`."""

from __future__ import annotations

import click

from provision.cli.session import Session
from provision.cli.verb import verb
from provision.images.build import lock


@verb("lock", example="deploy image lock && git diff images/lock.json", hosts=False)
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if something has moved.")
def command(session: Session, check: bool) -> int:
    """Pin base images and sources at what they are today.

    Images are built FROM digests, so a base changes when a person says so, and the change is seen in a commit.
    """
    root = session.directory.absolute()
    fresh, moved = lock.refresh(lock.read_lock(root), root)
    if not check:
        lock.write(fresh, root)
    changes = [{"name": item.name, "before": item.before, "after": item.after} for item in moved]
    session.console.answer(
        {"event": "result", "moved": changes, "written": not check},
        [f"{item.name}: {item.before or 'new'} -> {item.after}" for item in moved]
        or ["images/lock.json is up to date."],
    )
    return 1 if check and moved else 0
