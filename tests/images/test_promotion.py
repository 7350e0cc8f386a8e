"""Promotion, rollback, and every way in which one of them does not happen."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from provision.errors import Refused, RegistryFailed
from provision.images.promotion.chain import findings
from provision.images.promotion.move import apply, plan_promotion
from provision.images.promotion.policy import Policy
from provision.images.registry import wire
from provision.images.registry.documents import Descriptor, artifact
from provision.images.registry.reference import parse
from provision.images.registry.referrers import attach, put_empty, referrers
from provision.images.registry.repository import connect
from tests.images.faulty import Fault
from tests.images.make import KEY, STRANGER, image, index, recorded
from tests.images.promoting import JUDGE, promote, prove, proven, rollback

pytestmark = pytest.mark.registry


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """A registry that is down stays down here; waiting for it is tested elsewhere."""
    monkeypatch.setattr(wire, "_RETRIES", 0)


@pytest.mark.parametrize("kind", ["plain", "locked"])
@pytest.mark.parametrize("make", [image, index])
def test_stable_becomes_the_very_bytes_that_were_proven(kind, make, name, request, referrers_route):
    found = request.getfixturevalue(kind)
    repository = connect(parse(f"{found.authority}/{name}"), write=True, environ=found.environ)
    made = proven(repository, make)
    promote(repository)
    assert repository.get("stable") == made
    (move,) = recorded(repository).moves
    (evidence,) = findings(repository, made.digest, [KEY.public])
    assert (move.old, move.new, move.who, move.evidence) == ("", made.digest, "ada", (evidence.artifact,))


@pytest.mark.registry("referrers route")
def test_where_the_registry_lists_referrers_itself_no_fallback_tag_is_asked_for(proxy, behind):
    made = proven(behind)
    promote(behind)
    assert behind.get("stable") == made
    assert proxy.asked("GET", "/manifests/sha256-") == 0


def test_a_plan_changes_nothing(repository):
    proven(repository)
    plan_promotion(repository, "canary", repository, "stable", JUDGE)
    assert repository.digest("stable") == ""
    assert recorded(repository).moves == ()


def test_what_is_stable_already_is_left_alone(proxy, behind):
    proven(behind)
    promote(behind)
    before = len(proxy.seen)
    assert promote(behind).is_needless
    assert not [method for method, _, _ in proxy.seen[before:] if method not in ("GET", "HEAD")]


def test_promotion_does_not_read_the_image(proxy, behind):
    """So it costs the same whatever the size."""
    proven(behind)
    proxy.seen.clear()
    promote(behind)
    assert proxy.asked("GET", "/blobs/") == 0
    assert len(proxy.seen) <= 14


def test_what_does_not_wait_for_another_answer_is_asked_at_once(proxy, behind):
    """Far away, each question that waits for another costs a round trip."""
    proven(behind)
    promote(behind)
    proven(behind)
    first, second = (threading.Barrier(3, timeout=30) for _ in range(2))
    for meeting in (first, second):
        proxy.on("HEAD", "/manifests/stable$", times=1, before=meeting.wait)
    proxy.on("GET", "/manifests/canary$", times=1, before=first.wait)
    proxy.on("GET", "/manifests/stable.history$", times=1, before=first.wait)
    proxy.on("HEAD", "/manifests/canary$", times=1, before=second.wait)
    proxy.on("HEAD", "/manifests/stable.history$", times=1, before=second.wait)
    promote(behind)


# Evidence


@pytest.mark.parametrize(
    ("evidence", "policy", "why"),
    [
        (None, {}, "there is no evidence for this digest"),
        ({"key": STRANGER}, {}, "is not signed by a trusted key"),
        ({"passed": False}, {}, "completion failed"),
        ({"age": timedelta(days=8)}, {"max_age": timedelta(days=7)}, "the evidence has expired"),
        ({"age": timedelta(hours=-1)}, {}, "the evidence is from the future"),
        ({}, {"checks": ("queue",)}, "queue was not tried"),
        ({}, {"min_age": timedelta(hours=1)}, "nobody recorded since when it is on its channel"),
        ({}, {"who": ("bob",)}, "ada is not among who may promote it"),
    ],
)
def test_what_is_not_proven_as_demanded_is_refused(evidence, policy, why, repository):
    made = image(repository, "canary")
    if evidence is not None:
        prove(repository, made, **evidence)
    with pytest.raises(Refused) as refusal:
        promote(repository, replace(JUDGE, policy=Policy(**policy)))
    assert why in refusal.value.why
    assert refusal.value.exit == 4
    assert repository.digest("stable") == ""
    assert recorded(repository).moves == ()


def test_evidence_for_another_digest_is_refused_although_it_lies_beside_this_one(repository):
    other, made = proven(repository), image(repository, "canary")
    prove(repository, made, about=other)
    with pytest.raises(Refused) as refusal:
        promote(repository)
    assert f"is for another digest, {other.digest}" in refusal.value.why


def test_evidence_for_the_image_of_one_platform_does_not_prove_the_index(repository):
    made = index(repository, "canary")
    prove(repository, repository.get(made.children[0].digest))
    with pytest.raises(Refused, match="is not moved"):
        promote(repository)


# Others


def test_a_canary_that_moves_between_plan_and_apply_is_refused(repository):
    proven(repository)
    plan = plan_promotion(repository, "canary", repository, "stable", JUDGE)
    moved = image(repository, "canary")
    with pytest.raises(Refused, match=":canary was moved since this was planned") as refusal:
        apply(plan, JUDGE, lambda event: None)
    assert moved.digest in refusal.value.why
    assert repository.digest("stable") == ""


def test_a_stable_that_somebody_else_moves_between_plan_and_apply_is_refused(repository):
    proven(repository)
    plan = plan_promotion(repository, "canary", repository, "stable", JUDGE)
    theirs = image(repository, "stable")
    with pytest.raises(Refused, match=":stable was moved since this was planned"):
        apply(plan, JUDGE, lambda event: None)
    assert repository.get("stable") == theirs
    assert recorded(repository).moves == ()


def test_a_stable_that_somebody_else_moves_at_the_same_moment_is_noticed(proxy, repository, behind):
    proven(behind)
    theirs = image(repository)
    proxy.on("GET", "/manifests/stable$", before=lambda: repository.put(theirs, "stable"))
    with pytest.raises(Refused, match=r"somebody else moved .*:stable at the same moment") as refusal:
        promote(behind)
    assert theirs.digest in refusal.value.why


def test_two_promotions_at_once_are_seen_in_the_history(repository):
    first = proven(repository)
    plan = plan_promotion(repository, "canary", repository, "stable", JUDGE)
    promote(repository)
    repository.put(image(repository), "stable")
    rollback(repository, first.digest)
    with pytest.raises(Refused):
        apply(plan, JUDGE, lambda event: None)
    assert len(recorded(repository).moves) == 2


# Registries that do not take part


def _requests_of_a_promotion(proxy, behind) -> int:
    proven(behind)
    proxy.seen.clear()
    promote(behind)
    return len(proxy.seen)


def test_a_registry_that_goes_down_half_way_leaves_stable_old_or_new_and_the_same_command_ends_it(
    proxy, repository, behind
):
    """At each single request of the promotion."""
    total = _requests_of_a_promotion(proxy, behind)
    old = repository.get("stable")
    for number in range(total):
        made = proven(repository)
        proxy.faults[:] = [Fault(method, "", drop=True) for method in ("GET", "HEAD", "PUT", "POST")]
        _after_requests(proxy, number)
        with pytest.raises(RegistryFailed):
            promote(behind)
        assert repository.digest("stable") in (old.digest, made.digest), number
        proxy.faults.clear()
        promote(behind)
        assert repository.get("stable") == made, number
        assert recorded(repository).made(made.digest)[-1].new == made.digest
        old = made


def _after_requests(proxy, number):
    """Its faults begin after `number` requests, whatever their method."""
    begin = len(proxy.seen) + number
    for fault in proxy.faults:
        fault.unless = lambda: len(proxy.seen) <= begin


def test_a_write_whose_answer_is_lost_is_looked_after(proxy, repository, behind):
    """The registry took it, and the line broke before it could say so."""
    made = proven(behind)
    proxy.on("PUT", "/manifests/stable$", before=lambda: repository.put(made, "stable"), drop=True)
    promote(behind)
    assert repository.get("stable") == made


def test_a_write_of_which_nothing_is_known_says_so(proxy, behind):
    proven(behind)
    proxy.on("HEAD", "/manifests/stable$", skip=2, drop=True)
    proxy.on("PUT", "/manifests/stable$", drop=True)
    with pytest.raises(RegistryFailed, match=r"it is not known whether .*:stable was moved"):
        promote(behind)


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ((401, {}, b""), Refused, "refused the login"),
        ((403, {}, b""), Refused, "does not allow it to anonymous"),
        ((404, {}, b""), RegistryFailed, "answered 404"),
        ((429, {}, b""), RegistryFailed, "too many requests"),
        ((429, {"Retry-After": "7"}, b""), RegistryFailed, "too many requests"),
        ((500, {}, b""), RegistryFailed, "answered 500"),
        ((201, {"Docker-Content-Digest": "sha256:" + "0" * 64}, b""), RegistryFailed, "changed in flight"),
    ],
)
def test_a_write_that_the_registry_refuses_leaves_stable_where_it_was(answer, kind, said, proxy, repository, behind):
    old = proven(behind)
    promote(behind)
    proven(behind)
    proxy.on("PUT", "/manifests/stable$", answer=answer)
    with pytest.raises(kind, match=said) as failure:
        promote(behind)
    assert f"stable still is {old.digest}" in failure.value.why
    assert repository.get("stable") == old
    # A move that was written down and not made is nothing to go back to.
    assert recorded(repository).made(old.digest)[-1].new == old.digest
    if answer[0] == 429 and answer[1]:
        assert failure.value.next_step == "try again after 7 s"


@pytest.mark.parametrize("status", [401, 403, 404, 429])
def test_a_read_that_the_registry_refuses_is_said_before_anything_is_written(status, proxy, behind):
    proven(behind)
    proxy.seen.clear()
    proxy.on("GET", "/manifests/canary", answer=(status, {}, b""))
    with pytest.raises((Refused, RegistryFailed)) as failure:
        promote(behind)
    assert failure.value.details["status"] == status
    assert {method for method, _, _ in proxy.seen} <= {"GET", "HEAD"}


def test_a_manifest_that_changes_in_flight_is_not_promoted(proxy, repository, behind):
    proven(behind)
    proxy.on("GET", "/manifests/canary", change=lambda answer: (answer[0], answer[1], answer[2] + b" "))
    with pytest.raises(RegistryFailed, match="changed in flight"):
        promote(behind)
    assert repository.digest("stable") == ""


# Elsewhere


def test_an_index_goes_to_another_registry_with_all_that_points_at_it(repository, locked, name):
    made = proven(repository, index)
    child = repository.get(made.children[0].digest)
    put_empty(repository)
    repository.put_blob(b'{"spdx": 1}')
    sbom = artifact("application/spdx+json", [Descriptor.of("text/spdx", b'{"spdx": 1}')], subject=child.descriptor)
    attach(repository, sbom)
    elsewhere = connect(parse(f"{locked.authority}/{name}-copy"), write=True, environ=locked.environ)

    promote(elsewhere, source=repository)

    assert elsewhere.get("stable") == made
    for part in made.children:
        assert elsewhere.get(part.digest) == repository.get(part.digest)
        assert all(elsewhere.has_blob(blob.digest) for blob in elsewhere.get(part.digest).blobs)
    assert findings(elsewhere, made.digest, [KEY.public]) == findings(repository, made.digest, [KEY.public])
    assert [item.digest for item in referrers(elsewhere, child.digest)] == [sbom.digest]
    # And it can be promoted on from there, since the evidence came along.
    promote(
        connect(parse(f"{locked.authority}/{name}-on"), write=True, environ=locked.environ),
        source=elsewhere,
        origin="stable",
    )


def test_evidence_goes_along_between_registries_that_list_it_differently(repository, other, name):
    made = proven(repository)
    elsewhere = connect(parse(f"{other.authority}/{name}"), write=True, environ=other.environ)
    promote(elsewhere, source=repository)
    assert elsewhere.get("stable") == made
    assert findings(elsewhere, made.digest, [KEY.public]) == findings(repository, made.digest, [KEY.public])
    assert bool(elsewhere.digest(made.digest.replace(":", "-"))) != other.referrers


def test_within_a_registry_blobs_are_mounted(plain, repository, name):
    proven(repository)
    beside = connect(parse(f"{plain.authority}/{name}-beside"), write=True, environ=plain.environ)
    events = []
    plan = plan_promotion(repository, "canary", beside, "stable", JUDGE)
    apply(plan, JUDGE, events.append)
    assert {event["how"] for event in events} == {"mounted"}
    assert beside.get("stable") == plan.image


def test_a_copy_that_breaks_off_promotes_nothing_and_the_next_one_goes_on(repository, proxy, name, environ):
    made = proven(repository)
    target = connect(parse(f"{proxy.authority}/{name}-copy"), write=True, environ=environ)
    proxy.on("PUT", "/blobs/uploads/", times=1, skip=1, drop=True)
    with pytest.raises(RegistryFailed):
        promote(target, source=repository)
    assert target.find(made.digest) is None
    promote(target, source=repository)
    assert target.get("stable") == made
