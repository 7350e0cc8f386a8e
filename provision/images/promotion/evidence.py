"""Evidence: the recorded result of checks for one digest, signed, beside the image it is about.

An in-toto statement (in-toto attestation framework, v1) in a DSSE envelope, in an artifact whose subject is the image.
The digest inside the statement is what counts: where it was found says nothing, since anybody who may push can copy it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from provision.errors import RegistryFailed
from provision.images.promotion.signing import NotSigned, PublicKey, SigningKey, unseal
from provision.images.registry.documents import (
    Descriptor,
    Malformed,
    Manifest,
    artifact,
    read_json,
    read_time,
    written_time,
)
from provision.images.registry.referrers import attach, put_empty, referrers
from provision.images.registry.repository import Repository
from provision.images.registry.together import together

ARTIFACT_TYPE = "application/vnd.bitnet-provision.evidence.v1+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "urn:bitnet-provision:evidence:1"
_EMBEDDED_AT_MOST = 64 << 10  # a manifest may have 4 MiB in all


@dataclass(frozen=True)
class CheckResult:
    """One check that ran."""

    name: str
    passed: bool
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)  # tokens per second, boot time, what it said


@dataclass(frozen=True)
class Evidence:
    """What was tried with an image, when, where and by whom."""

    name: str  # the repository
    digest: str
    checks: Sequence[CheckResult]
    at: datetime  # in UTC, to the second
    who: str
    where: str

    @property
    def passed(self) -> bool:
        """Whether something was tried, and all of it passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)


@dataclass(frozen=True)
class Finding:
    """A piece of evidence that was found beside an image: it counts, or `problem` says why not."""

    artifact: str  # the digest of the artifact
    evidence: Evidence | None = None
    key: str = ""
    problem: str = ""  # ends the sentence "it …"


def store(repository: Repository, image: Manifest, evidence: Evidence, key: SigningKey) -> str:
    """Sign `evidence` and put it beside `image`; the digest of the artifact.

    Raises:
        RegistryFailed: the registry did not take it.
    """
    envelope = key.seal(_PAYLOAD_TYPE, json.dumps(_statement(evidence), sort_keys=True).encode())
    put_empty(repository)
    repository.put_blob(envelope)
    layer = Descriptor.of(_ENVELOPE_TYPE, envelope, embedded=len(envelope) <= _EMBEDDED_AT_MOST)
    created = {"org.opencontainers.image.created": written_time(evidence.at)}
    made = artifact(ARTIFACT_TYPE, [layer], subject=image.descriptor, annotations=created)
    attach(repository, made)
    return made.digest


def findings(repository: Repository, digest: str, trusted: Sequence[PublicKey]) -> list[Finding]:
    """All evidence beside `digest`, newest first; what does not count stands last.

    Raises:
        RegistryFailed: the registry does not answer.
    """
    listed = referrers(repository, digest, ARTIFACT_TYPE)
    found = together(*[partial(_finding, repository, item, digest, trusted) for item in listed])
    oldest = datetime.min.replace(tzinfo=UTC)
    return sorted(found, key=lambda item: item.evidence.at if item.evidence else oldest, reverse=True)


def _finding(repository: Repository, item: Descriptor, digest: str, trusted: Sequence[PublicKey]) -> Finding:
    manifest = repository.find(item.digest)
    if manifest is None:
        return Finding(item.digest, problem="is listed, and not there")
    try:
        layers = [layer for layer in manifest.blobs if layer.media_type == _ENVELOPE_TYPE]
        if len(layers) != 1:
            return Finding(item.digest, problem="does not hold one signed document")
        payload, key = unseal(repository.content(layers[0]), _PAYLOAD_TYPE, trusted)
        evidence = _read(read_json(payload))
    except NotSigned as error:
        return Finding(item.digest, problem=str(error))
    except (ValueError, KeyError, TypeError):
        return Finding(item.digest, problem="is signed, and not evidence that this version reads")
    except Malformed:
        return Finding(item.digest, problem="is malformed")
    except RegistryFailed as error:
        if error.details.get("status") != 404:
            raise
        return Finding(item.digest, problem="has lost its content")
    if evidence.digest != digest:
        return Finding(item.digest, problem=f"is for another digest, {evidence.digest}")
    return Finding(item.digest, evidence, key.id)


def _statement(evidence: Evidence) -> dict[str, Any]:
    algorithm, _, value = evidence.digest.partition(":")
    return {
        "_type": _STATEMENT,
        "subject": [{"name": evidence.name, "digest": {algorithm: value}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "at": written_time(evidence.at),
            "who": evidence.who,
            "where": evidence.where,
            "checks": [asdict(check) for check in evidence.checks],
        },
    }


def _read(statement: dict[str, Any]) -> Evidence:
    if statement["_type"] != _STATEMENT or statement["predicateType"] != _PREDICATE:
        raise ValueError("another kind of statement")
    (subject,) = statement["subject"]
    predicate = statement["predicate"]
    return Evidence(
        name=str(subject["name"]),
        digest=f"sha256:{subject['digest']['sha256']}",
        checks=tuple(map(read_check, predicate["checks"])),
        at=read_time(predicate["at"]),
        who=str(predicate["who"]),
        where=str(predicate["where"]),
    )


def read_check(value: Mapping[str, Any]) -> CheckResult:
    """Of its JSON form.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    if not isinstance(value["passed"], bool):
        raise TypeError("passed is true or false")
    return CheckResult(
        str(value["name"]), value["passed"], float(value.get("seconds", 0)), dict(value.get("facts") or {})
    )
