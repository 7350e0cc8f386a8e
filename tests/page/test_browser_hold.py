"""The page in a real Chromium while requests are held.

Slow: `make test-slow`, or `pytest -m slow tests/page`. Left out where there is no Chromium (scripts/install-packages
browser).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.cli.conftest import Project
from tests.page.browsing import CHROMIUM, SECONDS, Seen, looking
from tests.page.staged import staged, users

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: scripts/install-packages browser"),
]
IN_PLACE = 'switch = "in-place"\n\n[targets.sandbox.traffic]\n'
LOADS_SECONDS = 15  # longer than the page takes to look again


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    with staged(IN_PLACE) as made:
        yield made


@pytest.fixture
def seen(project: Project, browser: Browser) -> Iterator[Seen]:
    with looking(project, browser) as found:
        yield found
        assert found.complaints == []


def test_what_is_held_is_shown_while_a_release_loads_in_place_and_nothing_afterwards(
    project: Project, seen: Seen
) -> None:
    project.write(version="two", timeout="60s", extra=IN_PLACE)
    web = project.root / "web.py"
    web.write_text(f"import time\n\ntime.sleep({LOADS_SECONDS})\n{web.read_text()}")
    held = re.compile(r"held: [1-4] until a program is there")
    with users(project.port):
        seen.open("/traffic")
        seen.shows("stable")
        seen.shows_no("held:")
        up = project.start("up", "--target", "sandbox")
        expect(seen.page.locator("main")).to_contain_text(held, timeout=SECONDS)
        output, complaints = up.communicate(timeout=120)
        assert up.returncode == 0, output + complaints
        seen.shows_no("held:")
        seen.page.wait_for_timeout(12_000)  # two looks, with users all the time
        seen.shows_no("held:")
