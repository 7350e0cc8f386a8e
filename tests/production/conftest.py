"""Projects to judge, declared and lying in a folder as they would at work."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TEMPLATES = Path(__file__).parents[2] / "templates"
HEAD = '[project]\nname = "cres"\n'
SERVICE = '[services.web]\ncommand = ["serve"]\n'


@pytest.fixture
def lay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], Path]:
    """Put the files of a case into a folder, and go there."""

    def lay(case: dict[str, Any]) -> Path:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "deploy.toml").write_text(HEAD + case.get("toml", SERVICE))
        if changed := case.get("template"):
            ours = (TEMPLATES / changed["name"]).read_text()
            assert changed["old"] in ours
            own = tmp_path / "templates" / changed["name"]
            own.parent.mkdir(parents=True)
            own.write_text(ours.replace(changed["old"], changed["new"]))
        if "promotion" in case:
            (tmp_path / "promotion.toml").write_text(case["promotion"])
        if ".env" in case:
            file = tmp_path / ".env"
            file.write_text(case[".env"])
            file.chmod(int(case.get("mode", "600"), 8))
            then = time.time() - case.get("days", 0) * 24 * 60 * 60
            os.utime(file, (then, then))
        if case.get("git"):
            subprocess.run(["git", "init", "--quiet"], check=True)
            subprocess.run(["git", "add", ".env"], check=True)
        return tmp_path

    return lay
