"""Signing and promoting as two people do it, at hours that are said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from provision.errors import Refused
from provision.images.promotion.chain import findings, heads
from provision.images.promotion.evidence import CheckResult, Evidence, store
from provision.images.promotion.move import Judge, apply, plan_promotion
from provision.images.promotion.policy import Policy
from provision.images.promotion.seen import Seen
from tests.images.make import KEY

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


HOUR = timedelta(hours=1)


def judge(seen=None, hours=0, **policy):
    return Judge(Policy(**policy), [KEY.public], "ada", "ci", NOW + hours * HOUR, KEY, seen or Seen())


def sign(repository, made, hours, *, passed=True, anew=False, key=KEY, seeing=None):
    """Evidence as `attest` stores it, so many hours before NOW."""
    there = [] if anew else findings(repository, made.digest, [KEY.public]) if seeing is None else seeing
    checks = (CheckResult("health", passed),)
    at = NOW - hours * HOUR
    return store(repository, made, Evidence("r/app", made.digest, checks, at, "ada", "ci", heads(there), anew), key)


def promote(repository, decides=None, *, anew=False, source=None):
    decides = decides or judge()
    plan = plan_promotion(source or repository, "canary", repository, "stable", decides, anew=anew)
    apply(plan, decides, lambda event: None)


def why(repository, decides=None, **how):
    with pytest.raises(Refused) as refusal:
        promote(repository, decides, **how)
    return refusal.value.why
