"""A rollback in a registry: to what was proven, and to nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from provision.errors import Refused, UsageError
from provision.images.promotion.history import Move, append
from provision.images.promotion.move import apply, plan_promotion
from provision.images.promotion.policy import Policy
from tests.images.make import STRANGER, image, recorded
from tests.images.promoting import JUDGE, NOW, promote, proven, rollback

pytestmark = pytest.mark.registry


def test_a_rollback_goes_back_one_by_one(repository):
    made = []
    for _ in range(3):
        made.append(proven(repository))
        promote(repository)
    for expected in (made[1], made[0]):
        rollback(repository)
        assert repository.get("stable") == expected
    with pytest.raises(UsageError, match="no earlier image"):
        rollback(repository)
    assert [move.kind for move in recorded(repository).moves] == ["promote"] * 3 + ["rollback"] * 2


def test_a_rollback_is_to_what_was_proven_and_its_age_does_not_matter(repository):
    old = proven(repository)
    promote(repository)
    proven(repository)
    promote(repository)
    years_later = replace(JUDGE, policy=Policy(max_age=timedelta(days=1)), now=NOW + timedelta(days=800))
    rollback(repository, judge=years_later)
    assert repository.get("stable") == old


def test_a_rollback_to_what_nobody_proved_is_refused(repository):
    image(repository, "stable")
    now = proven(repository)
    apply(plan_promotion(repository, "canary", repository, "stable", JUDGE, anew=True), JUDGE, lambda event: None)
    with pytest.raises(Refused) as refusal:
        rollback(repository)
    assert "there is no evidence" in refusal.value.why
    assert repository.get("stable") == now


def test_a_rollback_is_no_way_around_the_age_that_a_promotion_demands(repository):
    proven(repository)
    promote(repository)
    young = proven(repository)
    with pytest.raises(Refused, match=f"never was {young.digest}"):
        rollback(repository, young.digest)


def test_a_forged_history_cannot_bring_back_what_was_never_proven(repository):
    """Whoever may push can write the history; what was proven is signed."""
    evil = image(repository)
    proven(repository)
    promote(repository)
    now = repository.digest("stable")
    move = Move("promote", evil.digest, now, NOW, "eve", "x")
    append(repository, recorded(repository), move, repository.get(now), STRANGER)
    with pytest.raises(UsageError, match="no earlier image") as refusal:
        rollback(repository)
    assert "is not signed by a trusted key" in refusal.value.why
    with pytest.raises(Refused, match="never was"):
        rollback(repository, evil.digest)
