"""The pages of a target that is a cluster, of what `provision.cluster` tells of one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.cluster.kept.inventory import Entry, Inventory
from provision.cluster.looks import Seen, Status
from provision.cluster.server.objects import Name
from provision.cluster.waiting.standing import Standing
from provision.errors import Unreachable
from provision.page import views
from provision.page.app import Page
from provision.page.live import View
from provision.page.places import PLACE, STANDING, Place, Project
from provision.page.poller import Heard, Key

NEW, OLD = "n" * 64, "o" * 64
STUCK = "its image can't be pulled: <b>no such tag</b>"
HISTORY = (
    Entry(1, 1.0, "up", "committed", "stable", {"stable": OLD}, "ann@laptop"),
    Entry(2, 2.0, "up", "put back", "stable", {"stable": OLD}, "ben@ci", why="api did not become ready in 60 s"),
)
SEEN = Seen("api", "stable", Name("Deployment", "api"), Standing("stuck", STUCK, "api-1"), 1, ({}, {}))
STATUS = Status(
    "degraded",
    Inventory(
        3, {"stable": OLD, "canary": NEW}, degraded="neither could be proven", history=HISTORY, shares={"canary": 0.05}
    ),
    "ann@laptop",
    (SEEN,),
    ("service/api is not as it was applied",),
)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    found = Page(Project("shop", tmp_path, {"prod": lambda: pytest.fail("nobody looks")}))
    place = Place("prod", "kubernetes", "shop", (), is_cluster=True)
    found.poller._heard[Key(PLACE, "prod")] = Heard(place, time.time())
    found.poller.add(Key(STANDING, "prod"), lambda: STATUS, 5.0)
    found.poller._heard[Key(STANDING, "prod")] = Heard(STATUS, time.time())
    yield found


def _html(view: View) -> str:
    html = "\n".join(part.html for part in view.parts())
    assert "can't be shown" not in html
    return html


def test_a_cluster_says_what_its_services_are_and_why(page: Page) -> None:
    html = _html(views.Project(page.places))
    for text in (
        "degraded",
        "neither could be proven",
        "1 of 2",
        "canary has 5%",
        "service/api is not as it was applied",
    ):
        assert text in html
    assert "no such tag" in html
    assert "<b>no" not in html  # others' words are text


def test_a_cluster_that_does_not_answer_keeps_what_it_said_as_old(page: Page) -> None:
    error = Unreachable("the API server does not answer.", next_step="kubectl version")
    page.poller._heard[Key(STANDING, "prod")] = Heard(STATUS, time.time(), error)
    html = _html(views.Project(page.places))
    assert "stale" in html
    assert "the API server does not answer." in html


def test_a_cluster_s_transactions_stand_among_those_of_hosts(page: Page) -> None:
    html = _html(views.Deploys(page.places, page.doing))
    assert "put back" in html
    assert "api did not become ready in 60 s" in html
    assert html.index("ben@ci") < html.index("ann@laptop")  # the newest first


@pytest.mark.parametrize(
    ("view", "says"),
    [
        (views.Traffic, "[targets.prod.rollout]"),
        (views.Models, "in its images and volumes"),
    ],
)
def test_what_a_cluster_has_elsewhere_is_named(page: Page, view: type[views.Known], says: str) -> None:
    assert says in _html(view(page.places))
