"""The page in a real Chromium, while real hosts are deployed to, a canary fails, and a host dies.

Slow: `make test-slow`, or `pytest -m slow tests/page`. Left out where there is no Chromium (scripts/install-packages
browser).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.cli.conftest import Project
from tests.page.conftest import AWAY, NOISE, start, stop
from tests.page.staged import TRAFFIC, break_it, staged, users

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PAGES = ("/", "/traffic", "/deploys", "/evidence", "/models", "/logs")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: scripts/install-packages browser"),
]
WITH_AWAY = f"{AWAY}{TRAFFIC}"
SECONDS = 90_000  # that a page has to show something, on a busy machine; milliseconds, as Playwright has it


@dataclass
class Seen:
    """A page in a browser, and what its console complained of."""

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        self.page.goto(self.base + path)
        expect(self.page.locator("#line")).to_have_text("live", timeout=SECONDS)

    def shows(self, text: str) -> None:
        expect(self.page.locator("main")).to_contain_text(text, timeout=SECONDS)


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    with staged(WITH_AWAY, "asked for " + NOISE) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def seen(project: Project, browser: Browser) -> Iterator[Seen]:
    ui = start(project)
    page = browser.new_page()
    found = Seen(page, ui.base)

    def heard(said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            found.complaints.append(f"{said.text} {said.location}")

    page.on("console", heard)
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.goto(ui.url)
    page.wait_for_url(f"{ui.base}/")
    yield found
    page.close()
    stop(ui)


def _serious(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


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
    assert _serious(seen.page) == []
    seen.page.set_viewport_size({"width": 360, "height": 740})
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_host_that_dies_greys_out_where_one_looks(project: Project, seen: Seen) -> None:
    seen.open("/")
    seen.shows("serving")
    seen.shows("unreachable")
    from provision.targets import sandbox

    sandbox.stop(project.root)
    expect(seen.page.locator("article[aria-label=sandbox]")).to_have_class("host card bad stale fresh", timeout=SECONDS)


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
