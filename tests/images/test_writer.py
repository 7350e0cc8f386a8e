"""Somebody who may push and has no key, on registries of both kinds: what is refused, what cannot be told.

Each attack is made over the wire, as the registry takes it from anybody who may write: deleting, putting tags, and
putting back bytes that were kept.
"""

from __future__ import annotations

import json

import pytest

from provision.errors import Refused, RegistryFailed, UsageError
from provision.images.promotion import chain
from provision.images.promotion.chain import chained, findings, heads
from provision.images.promotion.evidence import ARTIFACT_TYPE, CheckResult, Evidence, Finding, store
from provision.images.promotion.move import plan_promotion
from provision.images.promotion.seen import Seen
from provision.images.registry.documents import OCI_INDEX, Descriptor, artifact
from provision.images.registry.referrers import attach, put_empty
from tests.images.make import KEY, STRANGER, delete, image, recorded, take_away, unlist
from tests.images.writing import HOUR, NOW, judge, promote, sign, why

pytestmark = pytest.mark.registry


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_evidence_that_others_come_after_is_missed_wherever_in_the_chain_it_was(gone, repository):
    made = image(repository, "canary")
    signed = [sign(repository, made, hours) for hours in (4, 3, 2)]
    sign(repository, made, 1)
    take_away(repository, made, signed[gone])
    assert f"evidence {signed[gone][:19]} is gone, and sha256:" in why(repository)
    assert "`deploy image attest --anew`" in why(repository)


def test_a_failure_that_was_deleted_is_missed_once_anybody_signs_again(repository):
    made = image(repository, "canary")
    sign(repository, made, 3)
    failed = sign(repository, made, 2, passed=False)
    sign(repository, made, 1)
    take_away(repository, made, failed)
    assert f"evidence {failed[:19]} is gone" in why(repository)


def test_the_newest_failure_that_was_deleted_is_missed_by_who_saw_it(repository):
    """A registry alone cannot tell: all that is left was once all there was."""
    made = image(repository, "canary")
    sign(repository, made, 3)
    failed = sign(repository, made, 2, passed=False)
    seen = Seen()
    with pytest.raises(Refused, match="is not moved"):
        promote(repository, judge(seen))
    take_away(repository, made, failed)
    assert f"evidence {failed[:19]} is gone, and was there" in why(repository, judge(seen))
    promote(repository)  # who never saw it; docs/images.md says so


def test_the_newest_failure_that_was_deleted_counts_for_no_longer_than_max_age(repository):
    made = image(repository, "canary")
    sign(repository, made, 3)
    take_away(repository, made, sign(repository, made, 2, passed=False))
    assert "the evidence has expired" in why(repository, judge(max_age=2 * HOUR))


@pytest.mark.registry("fallback tag")
def test_a_manifest_that_was_deleted_and_is_still_listed_is_missed(repository):
    made = image(repository, "canary")
    sign(repository, made, 3)
    failed = sign(repository, made, 2, passed=False)
    delete(repository, failed)
    assert f"evidence {failed[:19]} is gone, although it is listed" in why(repository)


@pytest.mark.registry("fallback tag")
def test_evidence_that_is_named_counts_although_somebody_took_it_off_the_list(repository):
    made = image(repository, "canary")
    failed = sign(repository, made, 3, passed=False)
    other = store(
        repository,
        made,
        Evidence("r/app", made.digest, (CheckResult("queue", True),), NOW - HOUR, "ada", "ci", (failed,)),
        KEY,
    )
    unlist(repository, made, failed)
    found = findings(repository, made.digest, [KEY.public])
    assert [item.artifact for item in found] == [other, failed]
    assert "health failed" in why(repository)


def test_a_chain_that_is_cut_off_at_its_beginning_is_refused(repository):
    made = image(repository, "canary")
    signed = [sign(repository, made, hours) for hours in (9, 8, 7, 6, 5)]
    for digest in signed[:3]:
        take_away(repository, made, digest)
    assert f"evidence {signed[2][:19]} is gone" in why(repository)


def test_older_evidence_that_is_put_back_outvotes_nothing(repository):
    made = image(repository, "canary")
    passed = sign(repository, made, 3)
    kept = repository.get(passed)
    sign(repository, made, 2, passed=False)
    attach(repository, kept)
    assert "health failed" in why(repository)


def test_two_who_sign_at_once_both_count_and_the_next_names_both(repository):
    made = image(repository, "canary")
    first = sign(repository, made, 5)
    saw = findings(repository, made.digest, [KEY.public])
    forks = [sign(repository, made, hours, seeing=saw) for hours in (4, 3)]
    promote(repository)
    assert set(recorded(repository).moves[-1].evidence) == set(forks)
    sign(repository, made, 2)
    (newest, *_) = findings(repository, made.digest, [KEY.public])
    assert set(newest.evidence.previous) == set(forks)
    assert first not in newest.evidence.previous
    take_away(repository, made, forks[0])
    decides = judge()
    plan = plan_promotion(repository, "canary", repository, "next", decides)
    assert f"evidence {forks[0][:19]} is gone" in plan.objections[0]


def test_evidence_begun_anew_is_the_way_out_and_nothing_older_counts(repository):
    made = image(repository, "canary")
    failed = sign(repository, made, 4, passed=False)
    sign(repository, made, 3)
    take_away(repository, made, failed)
    why(repository)
    sign(repository, made, 2, anew=True)
    found = findings(repository, made.digest, [KEY.public])
    assert [item.counts for item in found] == [True, False]
    assert found[1].problem == "is from before evidence was begun anew"
    assert "queue was not tried" in why(repository, judge(checks=("queue",)))
    sign(repository, made, 1)
    promote(repository)


def test_evidence_that_an_older_version_signed_counts_once_a_new_one_comes_after_it(repository):
    made = image(repository, "canary")
    _legacy(repository, made)
    assert "was signed by an older version, which names nothing before it" in why(repository)
    sign(repository, made, 1)
    promote(repository)
    found = findings(repository, made.digest, [KEY.public])
    assert [item.counts for item in found] == [True, True]


def _legacy(repository, made):
    """Evidence without a word of what came before it."""
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "r/app", "digest": {"sha256": made.digest.partition(":")[2]}}],
        "predicateType": "urn:bitnet-provision:evidence:1",
        "predicate": {"at": "2026-11-21T07:00:00Z", "who": "a", "where": "b", "checks": [_PASSED]},
    }
    _put(repository, made, KEY.seal("application/vnd.in-toto+json", json.dumps(statement).encode()))


_PASSED = {"name": "health", "passed": True, "seconds": 0.0, "facts": {}}


def _put(repository, made, envelope):
    put_empty(repository)
    repository.put_blob(envelope)
    layer = Descriptor.of("application/vnd.dsse.envelope.v1+json", envelope)
    attach(repository, artifact(ARTIFACT_TYPE, [layer], subject=made.descriptor))


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 200_000,
        b'{"payload": ' * 100_000,
        KEY.seal("application/vnd.in-toto+json", b"[" * 200_000),
        KEY.seal("application/vnd.in-toto+json", b'{"_type": ' * 100_000),
    ],
)
def test_nested_documents_count_for_nothing_and_end_nothing(payload, repository):
    made = image(repository, "canary")
    sign(repository, made, 1)
    _put(repository, made, payload)
    promote(repository)


def test_a_stranger_s_chain_neither_counts_nor_blocks(repository):
    made = image(repository, "canary")
    sign(repository, made, 2)
    absent = Evidence("r", made.digest, (CheckResult("health", False),), NOW, "eve", "x", ("sha256:" + "0" * 64,))
    store(repository, made, absent, STRANGER)
    promote(repository)


@pytest.mark.registry("fallback tag")
@pytest.mark.parametrize(("number", "said"), [(1_500, "more than 1,000 pieces of evidence"), (12_000, "10,000")])
def test_more_evidence_than_anybody_signs_is_not_read(number, said, proxy, behind):
    image(behind, "canary")
    entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1, "artifactType": ARTIFACT_TYPE}
    entries = [{**entry, "digest": f"sha256:{place:064x}"} for place in range(number)]
    listed = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    proxy.on("GET", "/manifests/sha256-", answer=(200, {"Content-Type": OCI_INDEX}, listed))
    with pytest.raises(RegistryFailed) as failure:
        promote(behind)
    assert said in f"{failure.value.what} {failure.value.why}"
    assert len(proxy.seen) < 40


def test_a_chain_of_100_000_ends_where_no_more_is_read(monkeypatch, repository):
    """Each names one before it, and no list shows any but the last."""
    made, asked = image(repository), []

    def read(_, name, digest, trusted):
        asked.append(name)
        before = (f"sha256:{int(name[7:], 16) + 1:064x}",) if len(asked) < 100_000 else ()
        return Finding(name, Evidence("r", digest, (), NOW, "a", "b", before), "key")

    monkeypatch.setattr(chain, "read_finding", read)
    with pytest.raises(RegistryFailed, match="more than 1,000 pieces"):
        findings(repository, made.digest, [KEY.public], {"sha256:" + "0" * 64: NOW})
    assert len(asked) == chain.MOST


@pytest.mark.parametrize("names", [{"a": "a"}, {"a": "b", "b": "a"}])
def test_a_loop_ends(names):
    """Nobody can make one, as each is named by its digest; it would end all the same."""
    read = [Finding(a, Evidence("r", "d", (), NOW, "x", "y", (b,)), "key") for a, b in names.items()]
    assert all(item.counts for item in chained(read, {}, {}))
    assert heads(read) == ()


def test_what_was_seen_is_kept_and_a_broken_file_is_not_taken_for_an_empty_one(seen_file):
    seen = Seen.read()
    seen.saw_move("r:stable", Seen.Move(3, "sha256:aa", NOW))
    seen.saw_evidence("r@sha256:bb", {"sha256:cc": NOW})
    assert seen.save() == ""
    again = Seen.read()
    assert again.move("r:stable") == Seen.Move(3, "sha256:aa", NOW)
    assert again.beside("r@sha256:bb") == {"sha256:cc": NOW}
    for text in ("", "[]", "[" * 100_000, '{"evidence": {}, "moves": {"a": [1]}}'):
        seen_file.write_text(text)
        with pytest.raises(UsageError, match="cannot be read"):
            Seen.read()
