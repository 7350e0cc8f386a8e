"""Every preset on every platform: what `deploy render` shows of a project around each, or why it refuses."""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from pathlib import Path

from provision.cli.main import main
from provision.project.platforms import RENDERED

GOLDEN = Path(__file__).parent / "golden"
PROJECTS = tuple(sorted(file.parent.name for file in GOLDEN.glob("*/deploy.toml")))
PAIRS = tuple(f"{project}/{platform}" for project in PROJECTS for platform in RENDERED)
REFUSED = "refused: "
# What these give is a matter of hosts, too, and both have several.
_TARGET = dict.fromkeys(("ufw", "monitoring"), ("--target", "fleet"))


def shown(pair: str) -> str:
    """What `deploy render PLATFORM` shows in the project's folder; run in this process."""
    project, _, platform = pair.partition("/")
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.chdir(GOLDEN / project), contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = main(["render", platform, *_TARGET.get(platform, ())])
    said = (status, bool(output.getvalue()), bool(errors.getvalue()))
    assert said in ((0, True, False), (2, False, True)), errors.getvalue()
    return output.getvalue() or REFUSED + errors.getvalue()


def place(pair: str) -> Path:
    """Where that was reviewed."""
    return GOLDEN / f"{pair}.txt"


def reviewed(platform: str) -> dict[str, dict[str, str]]:
    """By project, the reviewed files of a platform by their paths; those that it refuses left out.

    A file that is the only one has no name there, as when it is shown.
    """
    places = {project: place(f"{project}/{platform}") for project in PROJECTS}
    texts = {project: file.read_text() for project, file in places.items() if file.exists()}
    return {project: split(text) for project, text in texts.items() if not text.startswith(REFUSED)}


def split(text: str) -> dict[str, str]:
    """What is shown of several files, by their paths."""
    before, *parts = re.split(r"(?m)^==> (.+) <==\n", text)
    return dict(zip(parts[::2], parts[1::2], strict=True)) or {"": before}


if __name__ == "__main__":  # in another process, to be compared with this one
    json.dump({pair: shown(pair) for pair in PAIRS}, sys.stdout)
