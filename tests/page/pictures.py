"""Pictures of the six pages, light and dark, for docs/page.md: of a real host whose canary was judged and taken back.

python -m tests.page.pictures           make pictures
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.faults.hooks import until
from tests.page.conftest import AWAY, start, stop
from tests.page.staged import TRAFFIC, break_it, rollout_of, staged, users

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
# Page -> its address, and what it shows when it is worth a picture.
SHOWN: dict[str, tuple[str, str | re.Pattern[str]]] = {
    "project": ("/", re.compile("unreachable.*serving", re.DOTALL)),
    "traffic": ("/traffic", "of the canary's requests failed"),
    "deploy": ("/deploys", "As the hosts have it"),
    "evidence": ("/evidence", "signed with key"),
    "models": ("/models", "has none"),
    "logs": ("/logs?target=sandbox", "asked for"),
}
_LARGEST = 150_000  # bytes
_WAIT = 60_000  # milliseconds


def make(chromium: str) -> None:
    """All of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    extra = AWAY + TRAFFIC
    with staged(extra) as project, users(project.port), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        ui = start(project)
        try:
            break_it(project, extra)
            project.ok("up", "--target", "sandbox")
            until(lambda: rollout_of(project)["status"] == "aborted", "the canary is taken back", 240)
            page = browser.new_page(viewport={"width": 1000, "height": 760})
            page.goto(ui.url)
            page.wait_for_url(f"{ui.base}/")
            for name, (path, shown) in SHOWN.items():
                page.goto(ui.base + path)
                expect(page.locator("main")).to_contain_text(shown, timeout=_WAIT)
                if name == "deploy":  # the record of one says more than the list
                    page.get_by_role("link", name="deploy up").first.click()
                    expect(page.locator("main")).to_contain_text("What it said", timeout=_WAIT)
                if name == "evidence":  # the chain stands below what each host's checks saw
                    page.get_by_text("from binaries to host").first.evaluate("each => each.scrollIntoView()")
                _both(page, name)
        finally:
            stop(ui)
            browser.close()


def _both(page: Page, name: str) -> None:
    expect(page.locator("#line")).to_have_text("live", timeout=_WAIT)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.wait_for_timeout(500)
        file = FOLDER / f"{name}-{scheme}.png"
        content = page.screenshot(path=file)
        assert len(content) < _LARGEST, f"{file}: {len(content)} bytes"
        sys.stdout.write(f"{file}: {len(content)} bytes\n")


if __name__ == "__main__":
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        sys.exit("chromium is missing: scripts/install-packages browser")
    make(found)
