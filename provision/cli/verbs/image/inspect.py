"""`deploy image inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from provision.cli.channels import CANARY
from provision.cli.render.image import inspect_event, inspect_lines
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.cli.verbs.image import key_option
from provision.images import connect, parse
from provision.images.promotion.chain import findings
from provision.images.promotion.declared import find_image
from provision.images.promotion.history import History, read_history
from provision.images.promotion.seen import Seen
from provision.images.promotion.signing import read_public


@verb("inspect", example="deploy image inspect ghcr.io/owner/app:canary", hosts=False)
@click.argument("image")
@key_option
def command(session: Session, image: str, key: Path | None) -> None:
    """Show what a name stands for, and what was proven of it.

    IMAGE is REGISTRY/REPOSITORY[:TAG] or an image of promotion.toml; without a tag, its canary. Evidence counts if a
    key in evidence.pub signed it for this very digest; the rest is shown with the reason.
    """
    reference = parse(image) if "/" in image else find_image(session.directory, image).repository
    reference = reference if reference.wanted else reference.tagged(CANARY)
    repository = connect(reference, write=False)
    manifest = repository.get(reference.wanted)
    public = key or session.directory / "evidence.pub"
    if key or public.exists():
        trusted = read_public(public)
    else:
        trusted = []
        session.console.note(f"{public} is missing, so no evidence counts here.")
    seen = Seen.read()
    history = History("") if reference.digest else read_history(repository, reference.tag, trusted, seen)
    known = {**history.resting_on(manifest.digest), **seen.beside(f"{repository}@{manifest.digest}")}
    found = findings(repository, manifest.digest, trusted, known)
    session.console.answer(
        inspect_event(reference, manifest, found, history), inspect_lines(reference, manifest, found, history)
    )
