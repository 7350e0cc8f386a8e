"""The chain on the Evidence page, of what a real registry has of an image that is tried, moved, and moved by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.cli.main import main
from provision.contract.model_types import COMMIT_LABEL, SOURCE_LABEL
from provision.images.registry.repository import Repository
from provision.page.rendering import render
from provision.rollout.chain import Program, links, of_place, together
from provision.rollout.chains import registries
from tests.images.make import image, take_away

HELL = "<script>alert(1)</script>"
Shown = tuple[list[tuple[str, str]], str]  # of each step its state, and the page's HTML


@pytest.fixture
def keyed(fork: Path) -> Path:
    assert main(["image", "keygen"]) == 0
    (fork / "report.json").write_text(json.dumps({"checks": [{"name": HELL, "passed": True}]}))
    return fork


@pytest.fixture
def shown(keyed: Path, repository: Repository) -> Callable[[], Shown]:
    def show() -> Shown:
        program = Program("api", f"{repository}:stable")
        made = links([program], registries(keyed, [program]), {}, of_place("one", (), (), 0))
        chains = [*together([("stable", "a" * 64, "one", made)])]
        html = render("evidence.html", "chains", "x", "prod", (chains, {}), None)
        assert HELL not in html
        return [(each.step, each.state) for each in made[:-1]], html

    return show


def test_each_step_is_there_once_the_registry_has_it(
    keyed: Path, repository: Repository, shown: Callable[[], Shown], capsys: pytest.CaptureFixture[str]
) -> None:
    labels = {SOURCE_LABEL: HELL, COMMIT_LABEL: "c" * 40}
    (keyed / "promotion.toml").write_text(f'[app]\nrepository = "{repository}"\n')
    steps, html = shown()
    assert steps == [("binaries", "missing"), ("image", "missing"), ("channel", "missing")]

    made = image(repository, "canary", labels=labels)
    assert main(["image", "attest", f"{repository}@{made.digest}", "--report", "report.json", "--json"]) == 0
    stored = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert main(["image", "promote", "app"]) == 0
    steps, html = shown()
    assert steps == [("binaries", "proven"), ("image", "proven"), ("channel", "proven")]
    assert f"stable came to {made.digest[:19]} by promote, by 1 pieces of evidence" in html
    assert stored["key"][:12] in html

    take_away(repository, made, stored["evidence"])  # this machine has seen it
    steps, html = shown()
    assert dict(steps)["image"] == "against"

    image(repository, "stable", labels=labels)  # by hand, and never tried
    steps, html = shown()
    assert steps[1:] == [("image", "missing"), ("channel", "missing")]
    assert "nobody has signed that it was tried" in html
    assert "no signed move brought stable there" in html
