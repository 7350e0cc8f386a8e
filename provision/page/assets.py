"""What pages load: our own style and script, and uPlot, which draws series.

uPlot is pinned by hash (assets.json). The wheel has it, put there when it is built; a checkout, or a wheel that was
built without it, fetches it once into this user's cache, by npm, which knows its user's registry. Where it can't be
had, the page has figures and no curves. Standard library alone: the build runs this file by itself
(scripts/wheel_assets.py).
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
_SECONDS = 60.0
_KINDS = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "uPlot.iife.min.js": "text/javascript",
    "uPlot.min.css": "text/css",
}


def pinned() -> dict[str, Any]:
    """Which uPlot."""
    said: dict[str, Any] = json.loads((FOLDER / "assets.json").read_text(encoding="utf-8"))
    return said


def read(name: str) -> tuple[bytes, str] | None:
    """A file that pages load, and its kind; None where there is none of that name, or it can't be had."""
    kind = _KINDS.get(name)
    if kind is None:
        return None
    for folder in (FOLDER / "static", _kept()):
        try:
            return (folder / name).read_bytes(), kind
        except OSError:
            continue
    return None


def is_there() -> bool:
    """Whether uPlot is."""
    return all(read(name) is not None for name in pinned()["files"] if name in _KINDS)


def provide() -> None:
    """Fetch uPlot into this user's cache, where it is missing.

    Raises:
        OSError, ValueError: it can't be had, or is not what is pinned.
    """
    if not is_there():
        unpack(_kept())


def unpack(folder: Path) -> list[Path]:
    """Fetch uPlot, and write its files to `folder`.

    Raises:
        OSError, ValueError: it can't be had, or is not what is pinned.
    """
    said = pinned()
    content = _by_npm(said)
    if hashlib.sha256(content).hexdigest() != said["sha256"]:
        raise ValueError(f"{said['package']} {said['version']} is not what is pinned")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = []
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for name, member in said["files"].items():
            file = archive.extractfile(member)
            if file is None:
                raise ValueError(f"{said['package']} has no {member}")
            temporary = folder / f".{name}"
            temporary.write_bytes(file.read())
            made.append(temporary.replace(folder / name))
    return made


def _kept() -> Path:
    from provision.caches import caches

    return caches() / "page" / str(pinned()["sha256"][:16])


def _by_npm(said: dict[str, Any]) -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("there is no npm here, which fetches uPlot")
    with tempfile.TemporaryDirectory() as folder:
        words = [npm, "pack", "--silent", "--ignore-scripts", f"{said['package']}@{said['version']}"]
        try:
            subprocess.run(words, cwd=folder, capture_output=True, timeout=_SECONDS, check=True)
            return next(Path(folder).glob("*.tgz")).read_bytes()
        except (subprocess.SubprocessError, StopIteration) as error:
            raise OSError(f"npm can't fetch uPlot: {error}") from error
