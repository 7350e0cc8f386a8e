"""`deploy image attest`."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provision.cli.session import Session
from provision.cli.verb import verb
from provision.cli.verbs.image.keygen import default_private
from provision.errors import Refused, UsageError
from provision.images import connect, parse
from provision.images.promotion.evidence import Evidence, read_check, store
from provision.images.promotion.here import actor, place
from provision.images.promotion.signing import read_private

if TYPE_CHECKING:
    from provision.images.promotion.evidence import CheckResult
    from provision.images.promotion.signing import SigningKey

_VARIABLE = "DEPLOY_EVIDENCE_KEY"


@verb("attest", example="deploy image attest ghcr.io/owner/app@sha256:4f1c… --report smoke.json", hosts=False)
@click.argument("image")
@click.option(
    "--report",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='{"checks": [{"name": "health", "passed": true, "seconds": 0.2, "facts": {}}]}',
)
@click.option(
    "--private", type=click.Path(dir_okay=False, path_type=Path), help="The key, instead of DEPLOY_EVIDENCE_KEY."
)
def command(session: Session, image: str, report: Path, private: Path | None) -> None:
    """Sign the results of checks, and store them beside the image.

    IMAGE is named by its digest: a tag may have moved since it was tried.
    """
    reference = parse(image)
    if not reference.digest:
        raise UsageError(
            f"{image} is a name, and evidence is about bytes.",
            why="A tag may have moved since the image was tried.",
            next_step=f"deploy image inspect {image}, then name it @sha256:…",
        )
    checks, key = _checks(report, reference.digest), _key(private)
    repository = connect(reference, write=True)
    found = repository.get(reference.digest)
    at = datetime.now(UTC).replace(microsecond=0)
    evidence = Evidence(reference.name, found.digest, checks, at, actor(), place())
    artifact = store(repository, found, evidence, key)
    verdict = "passed" if evidence.passed else "FAILED"
    session.console.answer(
        {
            "event": "result",
            "image": found.digest,
            "evidence": artifact,
            "passed": evidence.passed,
            "key": key.public.id,
        },
        f"{verdict}: {len(checks)} checks of {reference}, signed by {key.public.id} as {artifact}",
    )


def _checks(report: Path, digest: str) -> tuple[CheckResult, ...]:
    try:
        document = json.loads(report.read_text(encoding="utf-8"))
        checks = tuple(map(read_check, document["checks"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{report} is not a report of checks.", why=f"{type(error).__name__}: {error}") from None
    if document.get("digest", digest) != digest:
        raise Refused(
            f"{report} is about another image.",
            why=f"It tried {document['digest']}.",
            next_step="attest that one, or try this one: deploy image smoke",
        )
    if not checks:
        raise UsageError(f"{report} has no checks in it.", why="Nothing tried is nothing proven.")
    return checks


def _key(private: Path | None) -> SigningKey:
    if private is None and os.environ.get(_VARIABLE):
        return read_private(os.environ[_VARIABLE], _VARIABLE)
    file = private or default_private()
    try:
        return read_private(file.read_text(encoding="utf-8"), str(file))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"no key to sign with: {file} cannot be read.",
            why=str(getattr(error, "strerror", None) or error),
            next_step=f"deploy image keygen, or set {_VARIABLE}",
        ) from None
