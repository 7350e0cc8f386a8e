"""`deploy image push`."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provision.cli.channels import CANARY, channel_of, keep, trusted_beside
from provision.cli.github.forks import refuse_fork
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.cli.verbs.image import private_option
from provision.contract.outcome import COMMITTED, UNCHANGED
from provision.errors import UsageError
from provision.images import connect
from provision.images.promotion.declared import find_image
from provision.images.promotion.here import actor, where
from provision.images.promotion.push import Attachment, push
from provision.images.promotion.seen import Seen
from provision.images.promotion.signing import default_private, own_key
from provision.images.registry.layout import ImageFolder

if TYPE_CHECKING:
    from provision.images.promotion.push import Attachment

# What `deploy image build` leaves beside the image.
_BESIDE = {
    "sbom.spdx.json": "application/spdx+json",
    "record.json": "application/vnd.bitnet-provision.build-record.v1+json",
}


@verb("push", example="deploy image push app --oci build/images/app/oci", hosts=False)
@click.argument("name")
@click.option(
    "--oci",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The image, as an OCI layout (default: build/images/NAME/oci).",
)
@click.option("--to", "goal", default=CANARY, metavar="TAG", help="The channel (default: canary); never stable.")
@click.option("--commit", default="", help="For the tag sha-COMMIT (default: what the image's own label says).")
@click.option("--attach", "attached", metavar="TYPE=FILE", multiple=True, help="A document that goes with the image.")
@private_option
def command(
    session: Session,
    name: str,
    folder: Path | None,
    goal: str,
    commit: str,
    attached: tuple[str, ...],
    private: Path | None,
) -> None:
    """Publish an image by digest, as canary and as sha-COMMIT.

    NAME is an image of promotion.toml, or REGISTRY/REPOSITORY. The bill of materials and the build record that
    `deploy image build` left go with it. Channels that promotions move, such as stable, are refused.
    """
    refuse_fork("nothing is pushed")
    repository = find_image(session.directory, name).repository
    channel = channel_of(goal, repository, "--to")
    if channel.name != repository.name or channel.digest:
        raise UsageError(f"--to {goal} is not a tag of {repository.name}.", next_step=f"--to {CANARY}")
    built = folder or session.directory / "build" / "images" / name.rpartition("/")[2] / "oci"
    target = connect(channel, write=True)
    has_key = private or os.environ.get("DEPLOY_EVIDENCE_KEY") or default_private().exists()
    key, seen = own_key(private) if has_key else None, Seen.read()
    with session.console.live():
        image, old = push(
            ImageFolder(built),
            target,
            channel.tag,
            commit=commit,
            attachments=[*_beside(built), *map(_attachment, attached)],
            who=actor(),
            where=where(),
            now=datetime.now(UTC).replace(microsecond=0),
            key=key,
            trusted=trusted_beside(session.directory, key),
            seen=seen,
            on_event=session.console.event,
        )
    keep(session, seen)
    facts = {"kind": "push", "image": str(target), "channel": channel.tag, "old": old, "new": image.digest}
    session.console.answer(
        {"event": "result", "outcome": UNCHANGED if old == image.digest else COMMITTED, **facts},
        f"{target}:{channel.tag} is {image.digest}",
    )


def _beside(built: Path) -> list[Attachment]:
    files = {built.parent / name: media_type for name, media_type in _BESIDE.items()}
    return [Attachment(media_type, file.read_bytes()) for file, media_type in files.items() if file.is_file()]


def _attachment(text: str) -> Attachment:
    media_type, equals, file = text.partition("=")
    if not equals or "/" not in media_type:
        raise UsageError(f"--attach {text}: expected TYPE=FILE.", next_step="--attach application/spdx+json=sbom.json")
    try:
        return Attachment(media_type, Path(file).read_bytes())
    except OSError as error:
        raise UsageError(f"--attach {text}: cannot be read.", why=str(error.strerror)) from None
