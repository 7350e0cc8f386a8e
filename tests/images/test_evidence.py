"""Evidence beside images: found on every kind of registry, and counted only if it is what it says."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from provision.errors import RegistryFailed
from provision.images.promotion.chain import findings
from provision.images.promotion.evidence import ARTIFACT_TYPE, CheckResult, Evidence, store
from provision.images.promotion.signing import SigningKey
from provision.images.registry.documents import OCI_INDEX, Descriptor, artifact, digest_of
from provision.images.registry.reference import parse
from provision.images.registry.referrers import attach, put_empty, referrers
from provision.images.registry.repository import connect
from tests.images.faulty import Fault
from tests.images.make import image, index

pytestmark = pytest.mark.registry

KEY, STRANGER = (SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)) for seed in (1, 2))
AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
CHECKS = (CheckResult("health", True, 0.2), CheckResult("completion", True, 1.5, {"tokens_per_second": 41.5}))


def evidence(made, **changes):
    return replace(Evidence("registry/app", made.digest, CHECKS, AT, "ada", "ci"), **changes)


def test_evidence_comes_back_as_it_was_signed_newest_first(repository):
    made = image(repository, "canary")
    later = evidence(made, at=AT + timedelta(hours=1), checks=(CheckResult("health", False),))
    for one in (evidence(made), later):
        store(repository, made, one, KEY)
    found = findings(repository, made.digest, [KEY.public])
    assert [item.evidence for item in found] == [later, evidence(made)]
    assert [item.evidence.passed for item in found] == [False, True]
    assert {item.key for item in found} == {KEY.public.id}


def test_an_image_without_evidence_has_none(repository):
    assert findings(repository, image(repository).digest, [KEY.public]) == []


def test_evidence_about_an_index_stands_beside_the_index(repository):
    made = index(repository)
    store(repository, made, evidence(made), KEY)
    assert [item.evidence for item in findings(repository, made.digest, [KEY.public])] == [evidence(made)]
    assert findings(repository, made.children[0].digest, [KEY.public]) == []


@pytest.mark.registry("fallback tag")
def test_the_fallback_tag_is_the_one_that_other_clients_read(repository):
    made = image(repository)
    stored = store(repository, made, evidence(made), KEY)
    listed = repository.get(made.digest.replace(":", "-"))
    assert listed.media_type == OCI_INDEX
    assert [(item.digest, item.artifact_type) for item in listed.children] == [(stored, ARTIFACT_TYPE)]


def test_a_large_document_stands_in_a_blob_and_not_in_the_manifest(repository):
    made = image(repository)
    large = evidence(made, checks=(CheckResult("log", True, 0, {"text": "x" * 100_000}),))
    stored = store(repository, made, large, KEY)
    assert len(repository.get(stored).content) < 2000
    assert [item.evidence for item in findings(repository, made.digest, [KEY.public])] == [large]


def test_evidence_of_a_stranger_does_not_count(repository):
    made = image(repository)
    store(repository, made, evidence(made), STRANGER)
    (found,) = findings(repository, made.digest, [KEY.public])
    assert (found.evidence, found.problem) == (None, "is not signed by a trusted key")


def test_evidence_for_another_digest_does_not_count_wherever_it_was_put(repository):
    """Whoever may push can copy a signed document; it stays about what it names."""
    made, proven = image(repository), image(repository)
    store(repository, made, evidence(proven), KEY)
    (found,) = findings(repository, made.digest, [KEY.public])
    assert (found.evidence, found.problem) == (None, f"is for another digest, {proven.digest}")


def _stored(repository, made, document: bytes, media_type="application/vnd.dsse.envelope.v1+json", layers=1):
    put_empty(repository)
    repository.put_blob(document)
    descriptors = [Descriptor.of(media_type, document)] * layers
    attach(repository, artifact(ARTIFACT_TYPE, descriptors, subject=made.descriptor))


SEALED_AS = "application/vnd.in-toto+json"


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (b"{}", "is not a signed document"),
        (KEY.seal("text/plain", b"{}"), "is signed as text/plain, not as application/vnd.in-toto+json"),
        (KEY.seal(SEALED_AS, b"{}"), "is signed, and not evidence that this version reads"),
        (KEY.seal(SEALED_AS, b"[]"), "is signed, and not evidence that this version reads"),
        (
            KEY.seal(SEALED_AS, b'{"_type": "https://in-toto.io/Statement/v1", "predicateType": "urn:other"}'),
            "is signed, and not evidence that this version reads",
        ),
    ],
)
def test_what_only_looks_like_evidence_is_named_with_the_reason(document, why, repository):
    made = image(repository)
    _stored(repository, made, document)
    (found,) = findings(repository, made.digest, [KEY.public])
    assert (found.evidence, found.problem) == (None, why)


def test_an_artifact_with_no_envelope_in_it_is_named(repository):
    made = image(repository)
    _stored(repository, made, b"text", "text/plain")
    assert [item.problem for item in findings(repository, made.digest, [KEY.public])] == [
        "does not hold one signed document"
    ]


def test_evidence_that_the_registry_lost_is_named(proxy, behind):
    made = image(behind)
    large = evidence(made, checks=(CheckResult("log", True, 0, {"text": "x" * 100_000}),))
    gone = store(behind, made, large, KEY)
    proxy.on("GET", "/blobs/", answer=(404, {}, b""))
    (found,) = findings(behind, made.digest, [KEY.public])
    assert (found.blocks, found.problem[:37]) == (True, "has lost its content, although it is ")
    proxy.faults[:] = [Fault("GET", gone, answer=(404, {}, b""))]
    (found,) = findings(behind, made.digest, [KEY.public])
    assert (found.blocks, found.problem[:33]) == (True, "is gone, although it is listed; t")


def test_a_registry_that_fails_is_not_a_registry_without_evidence(proxy, behind):
    made = image(behind)
    stored = store(behind, made, evidence(made), KEY)
    proxy.on("GET", stored, answer=(418, {}, b""))
    with pytest.raises(RegistryFailed, match="answered 418"):
        findings(behind, made.digest, [KEY.public])


@pytest.mark.registry("fallback tag")
@pytest.mark.parametrize(
    "answer",
    [
        (404, {}, b""),
        (400, {}, b"no"),
        (303, {}, b""),
        (200, {}, b"<html>"),
        (200, {}, b"[]"),
        (200, {}, b'{"manifests": [{"digest": "../../x", "mediaType": "a", "size": 1}]}'),
        (200, {"Content-Type": OCI_INDEX}, b'{"manifests": []}'),
    ],
)
def test_a_referrers_route_that_does_not_work_means_the_fallback_tag(answer, proxy, behind):
    made = image(behind)
    stored = store(behind, made, evidence(made), KEY)
    proxy.on("GET", "/referrers/", answer=answer)
    assert [item.digest for item in referrers(behind, made.digest)] == [stored]


@pytest.mark.registry("referrers route")
@pytest.mark.parametrize("wanted", [ARTIFACT_TYPE, ""])
def test_a_referrers_route_is_read_page_by_page(wanted, proxy, behind):
    """The registry gives two at a time, and filters where it is asked to."""
    made = image(behind)
    put_empty(behind)
    behind.put_blob(b"notes")
    notes = artifact("text/notes", [Descriptor.of("text/plain", b"notes")], subject=made.descriptor)
    attach(behind, notes)
    stored = [store(behind, made, evidence(made, who=who), KEY) for who in ("ada", "bob", "eve")]
    expected = stored if wanted else [notes.digest, *stored]
    assert [item.digest for item in referrers(behind, made.digest, wanted)] == expected
    assert proxy.asked("GET", "/referrers/") == 2
    assert proxy.asked("GET", "/manifests/sha256-") == 0


def test_storing_the_same_evidence_again_lists_it_once(repository):
    made = image(repository)
    assert store(repository, made, evidence(made), KEY) == store(repository, made, evidence(made), KEY)
    assert len({item.artifact for item in findings(repository, made.digest, [KEY.public])}) == 1


@pytest.mark.registry("fallback tag")
def test_two_who_store_at_once_do_not_lose_one_another_s(proxy, plain, repository, behind):
    """The list under the fallback tag changes between the look and the write."""
    made = image(repository)
    other = threading.Event()

    def intervene():
        if not other.is_set():
            other.set()
            store(repository, made, evidence(made, who="bob"), KEY)

    proxy.on("HEAD", r"/manifests/sha256-", before=intervene)
    store(behind, made, evidence(made), KEY)
    found = findings(repository, made.digest, [KEY.public])
    assert {item.evidence.who for item in found} == {"ada", "bob"}


@pytest.mark.registry("fallback tag")
def test_a_list_that_never_stops_changing_is_given_up_with_a_reason(proxy, behind):
    made = image(behind)
    proxy.on("HEAD", r"/manifests/sha256-", answer=(200, {"Docker-Content-Digest": digest_of(b"other")}, b""))
    with pytest.raises(RegistryFailed, match="could not be listed") as failure:
        store(behind, made, evidence(made), KEY)
    assert "changed that list 5 times" in failure.value.why


def test_evidence_needs_the_login_and_the_authority_that_the_image_needs(locked, name):
    repository = connect(parse(f"{locked.authority}/{name}"), write=True, environ=locked.environ)
    made = image(repository)
    store(repository, made, evidence(made), KEY)
    assert [item.evidence for item in findings(repository, made.digest, [KEY.public])] == [evidence(made)]
