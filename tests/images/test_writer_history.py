"""Somebody who may push and has no key, and the history of a channel: what can't be made of it, what is noticed."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from provision.cli.render.promotion import _lines
from provision.errors import UsageError
from provision.images.promotion.history import Move, append
from provision.images.promotion.move import plan_promotion, plan_rollback
from provision.images.promotion.seen import Seen
from provision.images.registry.documents import OCI_INDEX, ImageManifest
from provision.images.registry.reference import parse
from provision.images.registry.repository import connect
from tests.images.make import KEY, STRANGER, delete, image, recorded, take_away
from tests.images.writing import HOUR, NOW, judge, promote, sign, why

pytestmark = pytest.mark.registry


def test_a_history_that_somebody_without_a_key_wrote_is_refused_and_begun_anew_by_consent(repository):
    forged = {"kind": "push", "old": "", "new": "", "at": "2026-11-01T00:00:00Z", "who": "a", "where": "b"}
    made = image(repository, "canary")
    image(repository, "stable")
    sign(repository, made, 1)
    for channel in ("canary", "stable"):
        _unsigned(repository, channel, {**forged, "new": repository.digest(channel)})
    said = why(repository, judge(min_age=HOUR))
    assert "nobody recorded since when it is on its channel" in said
    assert "canary.history is not signed" in said
    assert "stable.history is not signed: an earlier version wrote it, or somebody without a key; --anew" in said
    with pytest.raises(UsageError) as refusal:
        plan_rollback(repository, "stable", "", judge())
    assert "stable.history is not signed" in refusal.value.why
    promote(repository, anew=True)
    assert [move.new for move in recorded(repository).moves] == [made.digest]
    assert repository.find("stable.history.20261121120000") is not None


def _unsigned(repository, channel, *moves):
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    annotations = {"bitnet-provision.moves": json.dumps(moves)}
    repository.put(ImageManifest.write({**document, "annotations": annotations}), f"{channel}.history")


def _promoted(repository, number=2, seen=None):
    """So many images, one after the other; an hour apart."""
    made = []
    for hours in range(number):
        made.append(image(repository, "canary"))
        sign(repository, made[-1], 1)
        promote(repository, judge(seen, hours))
    return made


@pytest.mark.parametrize(
    "how",
    [
        lambda first, second, third: [first, third],
        lambda first, second, third: [first, second],
        lambda first, second, third: [first, third, second],
        lambda first, second, third: [{**first, "at": "2020-01-01T00:00:00Z"}, second, third],
    ],
    ids=["one taken out", "the last taken out", "two exchanged", "another time"],
)
def test_no_move_is_taken_out_exchanged_or_changed(how, repository):
    _promoted(repository, 3)
    written = recorded(repository).written.document
    envelope = json.loads(written["annotations"]["bitnet-provision.signed-moves"])
    said = json.loads(base64.b64decode(envelope["payload"]))
    said["moves"] = how(*said["moves"])
    envelope["payload"] = base64.b64encode(json.dumps(said).encode()).decode()
    written["annotations"]["bitnet-provision.signed-moves"] = json.dumps(envelope)
    repository.put(ImageManifest.write(written), "stable.history")
    made = image(repository, "canary")
    sign(repository, made, 1)
    assert "stable.history is not signed by a trusted key" in why(repository)


def test_a_stranger_s_history_gives_no_age(repository):
    made = image(repository, "canary")
    sign(repository, made, 1)
    long_ago = Move("push", "", made.digest, NOW - 999 * HOUR, "eve", "x")
    append(repository, recorded(repository, "canary"), long_ago, made, STRANGER)
    assert "canary.history is not signed by a trusted key" in why(repository, judge(min_age=HOUR))


def test_a_history_counts_for_its_channel_and_repository_alone(plain, repository, name):
    beside = connect(parse(f"{plain.authority}/{name}-beside"), write=True, environ=plain.environ)
    made = image(repository, "canary")
    for place in (repository, beside):
        place.put_blob(b"{}")
    sign(repository, made, 1)
    append(repository, recorded(repository, "old"), Move("push", "", made.digest, NOW - 99 * HOUR, "a", "b"), made, KEY)
    repository.put(recorded(repository, "old").written, "canary.history")
    assert f"canary.history is that of {name}:old" in why(repository, judge(min_age=HOUR))
    for blob in made.blobs:
        beside.copy_blob(repository, blob)
    beside.put(made, "old")
    beside.put(recorded(repository, "old").written, "old.history")
    assert recorded(beside, "old").problem == f"is that of {name}:old"


def test_a_history_that_was_deleted_is_missed_where_the_channel_stands(repository):
    _promoted(repository, 1)
    delete(repository, repository.digest("stable.history"))
    made = image(repository, "canary")
    sign(repository, made, 1)
    assert "stable.history is missing, although stable stands for something; --anew" in why(repository)
    promote(repository, anew=True)


def test_a_history_that_goes_back_is_missed_by_who_saw_a_later_one(repository):
    seen = Seen()
    _promoted(repository, 1, seen)
    kept, old = recorded(repository).written, repository.get("stable")
    _promoted(repository, 1, seen)
    repository.put(kept, "stable.history")
    repository.put(old, "stable")
    made = image(repository, "canary")
    sign(repository, made, 1)
    assert "stable.history was put back to an earlier state: this machine knows move 2" in why(repository, judge(seen))
    promote(repository, judge(seen, hours=9), anew=True)
    _promoted(repository, 1, seen)
    for tag in ("stable.history", "stable"):
        delete(repository, repository.digest(tag))
    made = image(repository, "canary")
    sign(repository, made, 1)
    assert "stable.history is gone: this machine knows move" in why(repository, judge(seen))


def test_a_channel_that_was_moved_away_and_back_by_hand_is_not_as_old_as_it_was(repository):
    first, second = image(repository, "canary"), image(repository)
    sign(repository, first, 1)
    for made, hours, old in ((first, 9, ""), (second, 5, first.digest)):
        move = Move("push", old, made.digest, NOW - hours * HOUR, "a", "b")
        append(repository, recorded(repository, "canary"), move, made, KEY)
    assert "nobody recorded since when" in why(repository, judge(min_age=HOUR))


def test_a_stable_that_was_moved_by_hand_is_told_and_brought_back_to_what_is_proven(repository):
    _promoted(repository, 1)
    image(repository, "stable")
    made = image(repository, "canary")
    sign(repository, made, 1)
    plan = plan_promotion(repository, "canary", repository, "stable", judge())
    assert "which is not what its history says last" in "\n".join(_lines(plan))
    promote(repository)
    assert repository.get("stable") == made


def test_what_a_promotion_rested_on_is_demanded_of_a_rollback(repository):
    first, second = image(repository), image(repository)
    for made in (first, second):
        repository.put(made, "canary")
        sign(repository, made, 2)
        promote(repository)
    (evidence,) = recorded(repository).moves[0].evidence
    sign(repository, first, 1, seeing=[])
    take_away(repository, first, evidence)
    plan = plan_rollback(repository, "stable", "", judge())
    assert f"evidence {evidence[:19]} is gone, and was there" in plan.objections[0]


def test_nothing_is_moved_without_a_key(repository):
    made = image(repository, "canary")
    sign(repository, made, 1)
    with pytest.raises(UsageError, match="is not moved without a key"):
        promote(repository, replace(judge(), key=None))
    assert repository.digest("stable") == ""
