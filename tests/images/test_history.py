"""The record of a channel: what is read from it, as tables, and how it is kept in a registry."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest

from provision.errors import Refused, RegistryFailed
from provision.images.promotion.history import History, Move, append, demand_unwritten
from provision.images.registry.documents import OCI_INDEX, ImageManifest
from tests.images.make import KEY, image, recorded

pytestmark = pytest.mark.registry

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


def write(repository, move, new):
    append(repository, recorded(repository), move, new, KEY)


def history(*moves):
    """Of moves such as `A>B`, `B<A` (a rollback) and `>A` (the first), an hour apart."""
    read = []
    for number, text in enumerate(moves):
        kind = "rollback" if "<" in text else "promote"
        old, new = text.replace("<", ">").split(">")
        read.append(Move(kind, old, new, AT + timedelta(hours=number), "ada", "ci"))
    return History("stable", tuple(read))


@pytest.mark.parametrize(
    ("moves", "now", "previous"),
    [
        ((), "", ""),
        ((), "A", ""),
        ((">A",), "A", ""),
        (("A>B",), "B", "A"),
        ((">A", "A>B", "B>C"), "C", "B"),
        # a second rollback goes further back, not forth again
        ((">A", "A>B", "B>C", "C<B"), "B", "A"),
        ((">A", "A>B", "B>C", "C<B", "B<A"), "A", ""),
        # what was taken back is not gone back to
        ((">A", "A>B", "B<A", "A>C"), "C", "A"),
        # a move that was begun and not made
        ((">A", "A>B", "B>C"), "B", "A"),
        ((">A", "A>B", "A>C"), "C", "A"),
        ((">A",), "", ""),
        # somebody moved it by hand: back to what was there before that
        ((">A", "A>B"), "X", "B"),
        ((">A", "X>B"), "B", "X"),
        # the same digest again, later
        ((">A", "A>B", "B>A"), "A", "B"),
    ],
)
def test_the_previous_image_is_what_stood_there_before(moves, now, previous):
    assert history(*moves).previous(now) == previous


@pytest.mark.parametrize(
    ("moves", "now", "hours"),
    [
        ((">A", "A>B"), "B", 1),
        ((">A", "A>B", "B>A"), "A", 2),
        ((">A", "A>B"), "A", None),  # B may have been there, and been taken back by hand
        ((">A", "A>B"), "X", None),
        ((), "A", None),
    ],
)
def test_since_when_a_digest_is_there_is_the_move_that_brought_it(moves, now, hours):
    expected = None if hours is None else AT + timedelta(hours=hours)
    assert history(*moves).since(now) == expected


def test_moves_come_back_as_they_were_written(repository):
    made = [image(repository) for _ in range(3)]
    moves = [
        Move(kind, old, new.digest, AT, "ada", "ci", ("sha256:ee",))
        for kind, old, new in zip(["push", "promote", "rollback"], ["", "A", "B"], made, strict=True)
    ]
    for move, new in zip(moves, made, strict=True):
        write(repository, move, new)
    assert list(recorded(repository).moves) == moves
    assert recorded(repository, "canary").moves == ()


def test_the_index_points_at_the_latest_images_so_that_none_is_cleared_away(repository):
    made = [image(repository) for _ in range(12)]
    for new in made:
        write(repository, Move("promote", "", new.digest, AT, "ada", "ci"), new)
    held = recorded(repository).written.children
    assert [item.digest for item in held] == [new.digest for new in reversed(made)][:5]


def test_an_image_that_was_cleared_away_does_not_stop_the_next_move(proxy, behind):
    """A registry takes no index that points at nothing."""
    gone, new = image(behind), image(behind)
    write(behind, Move("promote", "", gone.digest, AT, "ada", "ci"), gone)
    proxy.on("PUT", "stable.history", times=1, answer=(404, {}, b""))
    proxy.on("GET", gone.digest, answer=(404, {}, b""))
    write(behind, Move("promote", gone.digest, new.digest, AT, "ada", "ci"), new)
    kept = recorded(behind)
    assert [move.new for move in kept.moves] == [gone.digest, new.digest]
    assert [item.digest for item in kept.written.children] == [new.digest]


def test_an_image_that_a_real_registry_deleted_does_not_stop_the_next_move(repository):
    gone, new = image(repository), image(repository)
    write(repository, Move("promote", "", gone.digest, AT, "ada", "ci"), gone)
    path = f"/v2/{repository.reference.repository}/manifests/{gone.digest}"
    repository.access.request("DELETE", path, doing="clear away", accept={202})
    seen = recorded(repository)
    append(repository, seen, Move("promote", gone.digest, new.digest, AT, "ada", "ci"), new, KEY)
    assert [move.new for move in recorded(repository).moves] == [gone.digest, new.digest]


def test_a_long_history_is_set_aside_and_goes_on(repository, monkeypatch):
    monkeypatch.setattr("provision.images.promotion.history._FULL", 4)
    monkeypatch.setattr("provision.images.promotion.history._CARRIED", 2)
    made = [image(repository) for _ in range(5)]
    for number, new in enumerate(made):
        old = made[number - 1].digest if number else ""
        move = Move("promote", old, new.digest, AT + timedelta(hours=number), "ada", "ci")
        write(repository, move, new)
    kept = recorded(repository)
    assert [move.new for move in kept.moves] == [new.digest for new in made[3:]]
    assert kept.previous(made[4].digest) == made[3].digest
    assert kept.number == 5
    aside = repository.get("stable.history.20261121160000").document["annotations"]["bitnet-provision.signed-moves"]
    signed = json.loads(base64.b64decode(json.loads(aside)["payload"]))
    assert [move["new"] for move in signed["moves"]] == [new.digest for new in made[:4]]


def test_what_somebody_else_wrote_meanwhile_is_noticed(repository):
    made = image(repository)
    seen = recorded(repository)
    demand_unwritten(repository, seen)
    append(repository, seen, Move("promote", "", made.digest, AT, "bob", "ci"), made, KEY)
    with pytest.raises(Refused, match="somebody else is moving"):
        demand_unwritten(repository, seen)


@pytest.mark.parametrize(
    "annotations",
    [
        {},
        {"bitnet-provision.moves": "no"},
        {"bitnet-provision.moves": "[" * 100_000},
        {"bitnet-provision.moves": "[{}]"},
    ],
)
def test_something_else_under_the_tag_is_not_written_over(annotations, repository):
    other = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "annotations": annotations}
    repository.put(ImageManifest.write(other), "stable.history")
    with pytest.raises(RegistryFailed, match="is not a history"):
        recorded(repository)
