"""A real Chromium, driven by Playwright, and what it is asked for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.cli.conftest import Project
from tests.page.conftest import served

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SECONDS = 90_000  # that a page has to show something, on a busy machine; milliseconds, as Playwright has it


@dataclass
class Seen:
    """A page in a browser, and what its console complained of."""

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        self.page.goto(self.base + path)
        if not path.startswith("/do/"):  # which is asked once, and stays as it is
            expect(self.page.locator("#line")).to_have_text("live", timeout=SECONDS)

    def shows(self, text: str) -> None:
        expect(self.page.locator("main")).to_contain_text(text, timeout=SECONDS)

    def shows_no(self, text: str) -> None:
        expect(self.page.locator("main")).not_to_contain_text(text, timeout=SECONDS)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@contextmanager
def looking(project: Project, browser: Browser, *words: str) -> Iterator[Seen]:
    """Who has opened the page of this project; `words` are for `deploy ui`."""
    with served(project, *words) as ui:
        page = browser.new_page()
        found = Seen(page, ui.base)

        def heard(said: ConsoleMessage) -> None:
            if said.type in ("error", "warning"):
                found.complaints.append(f"{said.text} {said.location}")

        page.on("console", heard)
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        try:
            page.goto(ui.url)
            page.wait_for_url(f"{ui.base}/")
            yield found
        finally:
            page.close()


def serious(page: Page) -> list[str]:
    """What axe-core finds that keeps somebody out."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
