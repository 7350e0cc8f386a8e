"""`deploy image attest`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provision.cli.channels import keep, trusted_beside
from provision.cli.github.forks import refuse_fork
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.cli.verbs.image import private_option
from provision.errors import Refused, UsageError
from provision.images import connect, parse
from provision.images.promotion.attest import attest
from provision.images.promotion.evidence import Evidence, read_check
from provision.images.promotion.here import actor, where
from provision.images.promotion.seen import Seen
from provision.images.promotion.signing import own_key

if TYPE_CHECKING:
    from provision.images.promotion.evidence import CheckResult


@verb("attest", example="deploy image attest ghcr.io/owner/app@sha256:4f1c… --report smoke.json", hosts=False)
@click.argument("image")
@click.option(
    "--report",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='{"checks": [{"name": "health", "passed": true, "seconds": 0.2, "facts": {}}]}',
)
@private_option
@click.option("--anew", is_flag=True, help="Nothing older counts: for when evidence was lost.")
def command(session: Session, image: str, report: Path, private: Path | None, anew: bool) -> None:
    """Sign the results of checks, and store them beside the image.

    IMAGE is named by its digest: a tag may have moved since it was tried. What is signed names the evidence that is
    there already, so that nobody can take that away unnoticed. Where some was lost, --anew begins again: only these
    results count then, and later ones.
    """
    refuse_fork("nothing is signed")
    reference = parse(image)
    if not reference.digest:
        raise UsageError(
            f"{image} is a name, and evidence is about bytes.",
            why="A tag may have moved since the image was tried.",
            next_step=f"deploy image inspect {image}, then name it @sha256:…",
        )
    checks, key = _checks(report, reference.digest), own_key(private)
    at = datetime.now(UTC).replace(microsecond=0)
    evidence = Evidence(reference.name, reference.digest, checks, at, actor(), where(), anew=anew)
    seen = Seen.read()
    trusted = trusted_beside(session.directory, key)
    artifact, lost = attest(connect(reference, write=True), evidence, key, trusted, seen)
    for item in lost:
        text = f"evidence {item.artifact[:19]} {item.problem}"
        session.console.event({"event": "warning", "host": "", "text": text})
    keep(session, seen)
    verdict = "passed" if evidence.passed else "FAILED"
    session.console.answer(
        {
            "event": "result",
            "image": evidence.digest,
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
