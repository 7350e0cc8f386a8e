"""Names as long as they may be, and markup in whatever a project and its host can say, in a real Chromium.

Slow: `make test-slow`, or `pytest -m slow tests/page`. Left out where there is no Chromium (scripts/install-packages
browser).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.cli.conftest import Project, make_project
from tests.page.browsing import CHROMIUM, Seen, looking, serious

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: scripts/install-packages browser"),
]
LONGEST = "s" + "-0" * 19 + "z"  # of a name: 40 characters, and no place to break it
MARKUP = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
FILE = "<img src=x onerror=document.title='taken'> \u202egnp.txt"
# Page -> what it says when the markup, or the name, is there.
PAGES = {
    "/": LONGEST,
    "/traffic": "sandbox",
    "/deploys": FILE.replace("\u202e", "\\u202e"),  # which would turn round what follows
    "/evidence": "from binaries to host",
    "/models": "has none",
    "/logs?target=sandbox": MARKUP,
}


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    """One whose service says markup, and whose last deploy failed with some."""
    for made in make_project():
        made.environ["XDG_CONFIG_HOME"] = str(made.root.parent / "config")
        _declare(made)
        made.ok("up", "--target", "sandbox")
        _declare(made, status=500)
        assert made.run("up", "--target", "sandbox").returncode == 1
        (made.root / FILE).write_text("a change that the next deploy would ship")
        yield made


def _declare(project: Project, status: int = 200) -> None:
    project.write(version=MARKUP, status=status)
    declared = project.root / "deploy.toml"
    declared.write_text(declared.read_text().replace("[services.web]", f"[services.{LONGEST}]"))
    web = project.root / "web.py"
    web.write_text(web.read_text().replace('"asked for"', repr(f"asked for {MARKUP}")))


@pytest.fixture(scope="module")
def seen(project: Project, browser: Browser) -> Iterator[Seen]:
    with looking(project, browser) as found:
        yield found


def _is_text(seen: Seen) -> None:
    assert seen.page.evaluate("document.title") != "taken"
    assert seen.page.locator("main img, main script").count() == 0
    assert serious(seen.page) == []
    seen.page.set_viewport_size({"width": 360, "height": 740})
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("path", PAGES)
def test_names_and_markup_are_text_and_stay_on_the_screen(seen: Seen, path: str) -> None:
    seen.page.set_viewport_size({"width": 1280, "height": 800})
    seen.open(path)
    seen.shows(PAGES[path])
    _is_text(seen)


def test_so_they_are_in_the_record_of_a_deploy_that_failed(seen: Seen) -> None:
    seen.page.set_viewport_size({"width": 1280, "height": 800})
    seen.open("/deploys")
    seen.page.get_by_role("link", name="deploy up").first.click()
    seen.shows("The last lines of")
    seen.shows(f"asked for {MARKUP}")
    _is_text(seen)


def test_no_page_complained(seen: Seen) -> None:
    """After all of the above: what is run, or fetched for a picture, is refused, and the console says so."""
    assert seen.complaints == []
