"""What speaks against a promotion, as a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from provision.images.promotion.evidence import CheckResult, Evidence, Finding
from provision.images.promotion.policy import Policy, objections

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def finding(age=HOUR, **checks):
    results = tuple(CheckResult(name, passed) for name, passed in checks.items())
    return Finding("sha256:aa", Evidence("r/app", "sha256:bb", results, NOW - age, "ada", "ci"), "key")


UNSIGNED = Finding("sha256:" + "c" * 64, problem="is not signed by a trusted key")


@pytest.mark.parametrize(
    ("policy", "found", "since", "against"),
    [
        (Policy(), [finding(health=True)], None, []),
        (Policy(), [finding(health=True), UNSIGNED], None, []),
        (Policy(checks=("health",)), [finding(health=True)], None, []),
        # one machine tries what another cannot
        (Policy(checks=("health", "gpu")), [finding(health=True), finding(gpu=True)], None, []),
        (Policy(), [], None, ["there is no evidence for this digest"]),
        (
            Policy(),
            [UNSIGNED],
            None,
            ["evidence sha256:cccccccccccc does not count: it is not signed by a trusted key"],
        ),
        (Policy(), [finding()], None, ["the evidence holds no check at all"]),
        (Policy(), [finding(health=False)], None, ["health failed (2026-11-21 11:00 UTC, ci)"]),
        (Policy(checks=("smoke",)), [finding(health=True)], None, ["smoke was not tried"]),
        # the newest result counts, in both directions
        (
            Policy(),
            [finding(2 * HOUR, health=True), finding(health=False)],
            None,
            ["health failed (2026-11-21 11:00 UTC, ci)"],
        ),
        (Policy(), [finding(health=True), finding(2 * HOUR, health=False)], None, []),
        (Policy(), [finding(health=True), finding(health=False)], None, ["health failed (2026-11-21 11:00 UTC, ci)"]),
        (Policy(), [finding(health=False), finding(health=True)], None, ["health failed (2026-11-21 11:00 UTC, ci)"]),
        (Policy(max_age=HOUR), [finding(HOUR, health=True)], None, []),
        (
            Policy(max_age=24 * HOUR),
            [finding(72 * HOUR, health=True)],
            None,
            ["the evidence has expired: it is from 3 days ago, and counts for 24 hours"],
        ),
        # an old result is no result, also beside a new one
        (
            Policy(checks=("gpu",), max_age=24 * HOUR),
            [finding(72 * HOUR, gpu=True), finding(health=True)],
            None,
            ["gpu was not tried"],
        ),
        (Policy(), [finding(-timedelta(minutes=4), health=True)], None, []),
        (
            Policy(max_age=HOUR),
            [finding(-HOUR, health=True)],
            None,
            ["the evidence is from the future (2026-11-21 13:00 UTC, ci)"],
        ),
        (Policy(min_age=HOUR), [finding(health=True)], NOW - HOUR, []),
        (
            Policy(min_age=HOUR),
            [finding(health=True)],
            NOW - timedelta(minutes=5),
            ["it came to its channel 5 minutes ago, and has to be there for 60 minutes"],
        ),
        (Policy(min_age=HOUR), [finding(health=True)], None, ["nobody recorded since when it is on its channel"]),
        (Policy(who=("ada", "bob")), [finding(health=True)], None, []),
        (Policy(who=("bob",)), [finding(health=True)], None, ["ada is not among who may promote it (bob)"]),
        # everything at once, so that nobody has to come back for the next one
        (
            Policy(checks=("a", "b"), who=("bob",)),
            [finding(a=False)],
            None,
            [
                "a failed (2026-11-21 11:00 UTC, ci)",
                "b was not tried",
                "ada is not among who may promote it (bob)",
            ],
        ),
    ],
)
def test_every_reason_is_said(policy, found, since, against):
    assert list(objections(policy, found, since=since, who="ada", now=NOW)) == against
