"""The page in a real Chromium, while real hosts are deployed to, a canary fails, and a host dies.

Slow: `make test-slow`, or `pytest -m slow tests/page`. Left out where there is no Chromium (scripts/install-packages
browser).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.cli.conftest import Project
from tests.faults.hooks import until
from tests.page.browsing import CHROMIUM, SECONDS, Seen, looking, serious
from tests.page.conftest import AWAY, NOISE
from tests.page.staged import TRAFFIC, break_it, staged, users

# Page -> what it says when all of it is there.
PAGES = {
    "/": "serving",
    "/traffic": "stable",
    "/deploys": "deploy up",
    "/evidence": "from binaries to host",
    "/models": "has none",
    "/logs?target=sandbox": "asked for",
    "/do/rollback/sandbox": "deploy rollback --target sandbox",
    "/do/traffic/sandbox?share=25": "canary=25%",
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: scripts/install-packages browser"),
]
GREY = re.compile("^host card bad stale( fresh)?$")
WITH_AWAY = f"{AWAY}{TRAFFIC}"


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    with staged(WITH_AWAY, "asked for " + NOISE) as made:
        yield made


@pytest.fixture(scope="module")
def seen(project: Project, browser: Browser) -> Iterator[Seen]:
    with looking(project, browser, "--allow", "rollback,traffic") as found:
        yield found


def test_a_canary_that_fails_is_seen_to_be_taken_back(project: Project, seen: Seen) -> None:
    with users(project.port):
        seen.open("/deploys")
        break_it(project, WITH_AWAY)
        up = project.start("up", "--target", "sandbox")
        seen.page.get_by_role("link", name="deploy up").first.click(timeout=SECONDS)
        seen.shows("transaction")
        output, complaints = up.communicate(timeout=180)
        assert up.returncode == 0, output + complaints
        seen.shows("done")
        seen.open("/traffic")
        seen.shows("canary")
        seen.shows("aborted")
        seen.shows("of the canary's requests failed")
        expect(seen.page.locator(".chart canvas").first).to_be_visible(timeout=SECONDS)
        expect(seen.page.locator(".chart").first).to_have_js_property("childElementCount", 1)


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_page_is_read_by_everybody(seen: Seen, path: str, scheme: str) -> None:
    """By axe-core's rules, in either scheme; and at 360 pixels nothing stands beside the screen."""
    seen.page.emulate_media(color_scheme=scheme)
    seen.page.set_viewport_size({"width": 1280, "height": 800})
    seen.open(path)
    seen.shows(PAGES[path])
    assert serious(seen.page) == []
    seen.page.set_viewport_size({"width": 360, "height": 740})
    width = "document.documentElement.scrollWidth"  # a curve gets its own when the browser has told that of the screen
    until(lambda: seen.page.evaluate(width) <= 360, f"{path} is as narrow as the screen", 10)


def test_a_host_that_dies_greys_out_where_one_looks(project: Project, seen: Seen) -> None:
    seen.open("/")
    seen.shows("serving")
    seen.shows("unreachable")
    from provision.targets import sandbox

    sandbox.stop(project.root)
    expect(seen.page.locator("article[aria-label=sandbox]")).to_have_class(GREY, timeout=SECONDS)


def test_the_keyboard_finds_a_host(seen: Seen) -> None:
    seen.open("/")
    seen.shows("unreachable")
    seen.page.keyboard.press("/")
    seen.page.keyboard.type("127.0.0.1:1")
    expect(seen.page.locator("#found")).to_have_text("1 of 2")
    assert seen.page.locator("[data-find]:visible").count() == 1


def test_no_page_complained_and_nothing_came_from_elsewhere(seen: Seen) -> None:
    """After all of the above."""
    assert seen.complaints == []
