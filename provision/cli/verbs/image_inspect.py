"""`deploy image inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from provision.cli.session import Session
from provision.cli.verb import verb


@verb("inspect", example="deploy image inspect ghcr.io/owner/app:canary", hosts=False)
@click.argument("image")
@click.option("--key", type=click.Path(dir_okay=False, path_type=Path), help="Public keys (default: evidence.pub).")
def command(session: Session, image: str, key: Path | None) -> None:
    """Show what a name stands for, and what was proven of it.

    Evidence counts if a key in evidence.pub signed it for this very digest; the rest is shown with the reason.
    """
    from provision.cli.render.image import inspect_event, inspect_lines
    from provision.images import connect, parse
    from provision.images.evidence import findings
    from provision.images.signing import read_public

    reference = parse(image)
    repository = connect(reference, write=False)
    manifest = repository.get(reference.wanted or "canary")
    public = key or session.directory / "evidence.pub"
    if key or public.exists():
        trusted = read_public(public)
    else:
        trusted = []
        session.console.note(f"{public} is missing, so no evidence counts here.")
    found = findings(repository, manifest.digest, trusted)
    session.console.answer(inspect_event(reference, manifest, found), inspect_lines(reference, manifest, found))
