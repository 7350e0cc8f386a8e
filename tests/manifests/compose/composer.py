"""Compose itself: its own reader of the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

DOCKER_COMPOSE = Path(sys.executable).with_name("docker-compose")


def config(text: str, folder: Path) -> dict[str, Any]:
    """What Compose understands of a file; secrets are there and empty."""
    file = folder / "compose.yaml"
    file.write_text(text)
    done = subprocess.run(
        [DOCKER_COMPOSE, "--file", file, "--profile", "*", "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "HOSTNAME": "never", "A": "never"},
    )
    assert done.returncode == 0, done.stderr
    # Unset variables would be told, too.
    assert done.stderr == ""
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def meant(text: str) -> str:
    """A value of `config`, which doubles each `$` again so that its output is a file for Compose."""
    return text.replace("$$", "$")
