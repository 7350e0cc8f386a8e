"""An image that is proven, promoted and taken back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from provision.images.promotion.evidence import CheckResult, Evidence, store
from provision.images.promotion.move import Judge, apply, plan_promotion, plan_rollback
from provision.images.promotion.policy import Policy
from tests.images.make import KEY, image

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


JUDGE = Judge(Policy(), [KEY.public], "ada", "ci", NOW, KEY)


def prove(repository, made, *, key=KEY, about=None, passed=True, age=timedelta(hours=1)):
    checks = (CheckResult("health", True), CheckResult("completion", passed))
    store(repository, made, Evidence(str(repository), (about or made).digest, checks, NOW - age, "ada", "ci"), key)


def proven(repository, make=image, tag="canary"):
    made = make(repository, tag)
    prove(repository, made)
    return made


def promote(repository, judge=JUDGE, source=None, origin="canary"):
    plan = plan_promotion(source or repository, origin, repository, "stable", judge)
    apply(plan, judge, lambda event: None)
    return plan


def rollback(repository, digest="", judge=JUDGE):
    apply(plan_rollback(repository, "stable", digest, judge), judge, lambda event: None)
