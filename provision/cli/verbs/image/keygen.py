"""`deploy image keygen`."""

from __future__ import annotations

from pathlib import Path

import click

from provision.cli.session import Session
from provision.cli.verb import verb
from provision.images.promotion.signing import default_private, generate


@verb("keygen", example="deploy image keygen && git add evidence.pub", hosts=False)
@click.option("--private", type=click.Path(dir_okay=False, path_type=Path), help="Where the secret half goes.")
@click.option("--public", type=click.Path(dir_okay=False, path_type=Path), help="Default: evidence.pub.")
def command(session: Session, private: Path | None, public: Path | None) -> None:
    """Make the key that signs evidence.

    The public half belongs into the repository. The secret half goes into your configuration folder; CI has it as a
    secret named DEPLOY_EVIDENCE_KEY. To change keys, append the new public half, and remove the old one later.
    """
    private = private or default_private()
    public = public or session.directory / "evidence.pub"
    made = generate(private, public)
    session.console.answer(
        {"event": "result", "key": made.id, "private": str(private), "public": str(public)},
        [
            f"key {made.id}",
            f"  secret half: {private} (never commit it; in CI it is the secret DEPLOY_EVIDENCE_KEY)",
            f"  public half: {public} (commit it)",
        ],
    )
