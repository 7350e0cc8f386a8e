"""The buttons of `deploy ui --allow` in a real Chromium, which says of a form where it comes from, on a real host.

Slow: `make test-slow`, or `pytest -m slow tests/page`. The browser's part is left out where there is no Chromium.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from provision import recorded
from tests.cli.conftest import Project, make_project
from tests.faults.hooks import until
from tests.page.browsing import CHROMIUM, SECONDS
from tests.page.conftest import served
from tests.page.test_doing import begin

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fresh() -> Iterator[Project]:
    for made in make_project():
        made.ok("up", "--target", "sandbox")
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium: scripts/install-packages browser")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


def _press(page: Page, base: str, label: str) -> str:
    """Ask for it by its button, and confirm; the token that was used."""
    page.goto(f"{base}/deploys")
    page.get_by_text(label).click(timeout=SECONDS)
    expect(page.get_by_role("heading", name="Run this?")).to_be_visible(timeout=SECONDS)
    token = page.locator("input[name=token]").get_attribute("value")
    page.get_by_role("button", name="Run it").click()
    return str(token)


def test_a_button_asks_once_and_leads_to_the_record_live(fresh: Project, browser: Browser) -> None:
    fresh.write(version="two")
    with served(fresh, "--allow", "up,promote,rollback,traffic") as ui, closing(browser.new_page()) as page:
        page.goto(ui.url)
        page.wait_for_url(f"{ui.base}/")
        token = _press(page, ui.base, "deploy up…")
        page.wait_for_url(re.compile(r"/deploys/\d+-\d+$"), timeout=SECONDS)
        expect(page.locator("#line")).to_have_text("live", timeout=SECONDS)
        expect(page.locator("#head")).to_contain_text("done", timeout=SECONDS)  # as it comes, without another look

        again = """async (token) => (await fetch("/do/up/sandbox", {method: "POST", body: `token=${token}`})).url"""
        # As a browser that sends it again is led there, and nothing begins.
        assert page.evaluate(again, token) == page.url
        page.goto(f"{ui.base}/deploys")
        expect(page.locator("#buttons li")).to_have_count(1)

        _press(page, ui.base, "deploy rollback…")
        expect(page.locator("#head")).to_contain_text("deploy rollback --target sandbox", timeout=SECONDS)
        expect(page.locator("#head")).to_contain_text("done", timeout=SECONDS)

        _press(page, ui.base, "deploy traffic…")  # there is no canary here
        expect(page.locator("#buttons")).to_contain_text("exit code", timeout=SECONDS)
        expect(page.locator("#buttons")).to_contain_text("next:", timeout=SECONDS)
    kinds = [line.split()[4] for line in fresh.ok("history", "--target", "sandbox").splitlines()]
    assert kinds == ["up", "up", "rollback"]


def test_without_allow_a_browser_finds_no_button_and_no_address(fresh: Project, browser: Browser) -> None:
    with served(fresh) as ui, closing(browser.new_page()) as page:
        page.goto(ui.url)
        page.wait_for_url(f"{ui.base}/")
        page.goto(f"{ui.base}/deploys")
        expect(page.locator("#history")).to_be_visible(timeout=SECONDS)
        assert page.locator("#buttons, form[method=post], a[href^='/do/']").count() == 0
        by_hand = """async () => (await fetch("/do/up/sandbox", {method: "POST", body: "token=x"})).status"""
        assert page.evaluate(by_hand) == 404


def test_what_a_button_began_goes_on_when_the_page_ends(fresh: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has much to say yet: nobody who reads is no reason to end."""
    monkeypatch.setenv("XDG_STATE_HOME", str(fresh.root.parent / "state"))
    fresh.write(version="three")
    web: Path = fresh.root / "web.py"
    web.write_text(f"import time\ntime.sleep(3)\n{web.read_text()}")
    with served(fresh, "--allow", "up") as ui, ui.browser() as client:
        location = begin(ui, client, "/do/up/sandbox").headers["location"]
    id_ = Path(location).name
    until(lambda: not (run := recorded.run(fresh.root, id_)) or not run.running, "the command ends", 90)
    run = recorded.run(fresh.root, id_)
    assert run is not None
    assert run.exit == 0, run.events[-3:]
