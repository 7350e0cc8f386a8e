"""Evidence: the recorded result of checks for one digest, signed, beside what it is about: an image, or a release.

Of an image it lies in the registry; of a release, whose id is a digest as well, on the hosts that have it.

An in-toto statement (in-toto attestation framework, v1) in a DSSE envelope, in an artifact whose subject is the image.
The digest inside the statement is what counts: where it was found says nothing, since anybody who may push can copy it.
Each statement names those that its signer saw and nobody had named yet, so that one which is gone is missed (`chain`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from provision.errors import RegistryFailed
from provision.images.promotion.signing import NotSigned, PublicKey, SigningKey, unseal
from provision.images.registry.documents import (
    CREATED,
    Descriptor,
    ImageManifest,
    Malformed,
    artifact,
    read_json,
    read_time,
    written_time,
)
from provision.images.registry.referrers import attach, put_empty
from provision.images.registry.repository import Repository
from provision.project.image_names import DIGEST

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
class OnHost:
    """On which host of which target checks ran, as that host recorded it."""

    target: str
    host: str
    channel: str
    began: datetime
    hardware: Mapping[str, Any]
    record: str = ""  # the transaction that recorded it; empty: they were asked from outside


@dataclass(frozen=True)
class Evidence:
    """What was tried with an image or a release, when, where and by whom."""

    name: str  # the repository, or the project
    digest: str
    checks: Sequence[CheckResult]
    at: datetime  # in UTC, to the second
    who: str
    where: str
    previous: tuple[str, ...] | None = ()  # artifacts that this one comes after; None: an older version signed it
    anew: bool = False  # whether nothing counts that is older
    on_host: OnHost | None = None  # where it was tried, if that was a host of a target

    @property
    def passed(self) -> bool:
        """Whether something was tried, and all of it passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)


@dataclass(frozen=True)
class Finding:
    """A piece of evidence that was found beside an image, or is missed there: it counts, or `problem` says why not."""

    artifact: str  # the digest of the artifact
    evidence: Evidence | None = None
    key: str = ""
    problem: str = ""  # ends the sentence "it …"
    lost: bool = False  # whether it is not there any more, or not whole
    blocks: bool = False  # whether nothing else counts either, as long as that is so

    @property
    def counts(self) -> bool:
        return self.evidence is not None and not self.problem


def signed(evidence: Evidence, key: SigningKey) -> bytes:
    """The envelope of `evidence`."""
    return key.seal(_PAYLOAD_TYPE, json.dumps(_statement(evidence), sort_keys=True).encode())


def store(repository: Repository, image: ImageManifest, evidence: Evidence, key: SigningKey) -> str:
    """Sign `evidence` and put it beside `image`; the digest of the artifact.

    Raises:
        RegistryFailed: the registry did not take it.
    """
    envelope = signed(evidence, key)
    put_empty(repository)
    repository.put_blob(envelope)
    layer = Descriptor.of(_ENVELOPE_TYPE, envelope, embedded=len(envelope) <= _EMBEDDED_AT_MOST)
    created = {CREATED: written_time(evidence.at)}
    made = artifact(ARTIFACT_TYPE, [layer], subject=image.descriptor, annotations=created)
    attach(repository, made)
    return made.digest


def read_finding(repository: Repository, artifact: str, digest: str, trusted: Sequence[PublicKey]) -> Finding:
    """What the artifact says of `digest`, by itself.

    Raises:
        RegistryFailed: the registry does not answer.
    """
    manifest = repository.find(artifact)
    if manifest is None:
        return Finding(artifact, problem="is gone", lost=True)
    try:
        layers = [layer for layer in manifest.blobs if layer.media_type == _ENVELOPE_TYPE]
        if len(layers) != 1:
            return Finding(artifact, problem="does not hold one signed document")
        envelope = repository.content(layers[0])
    except (KeyError, TypeError, AttributeError):
        return Finding(artifact, problem="is not evidence that this version reads")
    except Malformed:
        return Finding(artifact, problem="is malformed")
    except RegistryFailed as error:
        if error.details.get("status") != 404:
            raise
        return Finding(artifact, problem="has lost its content", lost=True)
    return read_envelope(artifact, envelope, digest, trusted)


def read_envelope(artifact: str, envelope: bytes, digest: str, trusted: Sequence[PublicKey]) -> Finding:
    """What an envelope, which is or is in `artifact`, says of `digest`, by itself. Pure."""
    try:
        payload, key = unseal(envelope, _PAYLOAD_TYPE, trusted)
        evidence = _read(read_json(payload))
    except NotSigned as error:
        return Finding(artifact, problem=str(error))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Finding(artifact, problem="is signed, and not evidence that this version reads")
    except Malformed:
        return Finding(artifact, problem="is malformed")
    if evidence.digest != digest:
        return Finding(artifact, problem=f"is for another digest, {evidence.digest}")
    return Finding(artifact, evidence, key.id)


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
            "previous": list(evidence.previous or ()),
            "anew": evidence.anew,
            **({"onHost": _place(evidence.on_host)} if evidence.on_host else {}),
        },
    }


def _place(place: OnHost) -> dict[str, Any]:
    return {**asdict(place), "began": written_time(place.began)}


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
        previous=_artifacts(predicate["previous"]) if "previous" in predicate else None,
        anew=predicate.get("anew", False) is True,
        on_host=_read_place(predicate["onHost"]) if "onHost" in predicate else None,
    )


def _read_place(value: Mapping[str, Any]) -> OnHost:
    target, host, channel, record = (str(value[name]) for name in ("target", "host", "channel", "record"))
    return OnHost(target, host, channel, read_time(value["began"]), dict(value["hardware"]), record)


def _artifacts(value: Sequence[Any]) -> tuple[str, ...]:
    if not all(isinstance(item, str) and re.fullmatch(DIGEST, item) for item in value):
        raise ValueError("something that comes before it has no digest")
    return tuple(value)


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
