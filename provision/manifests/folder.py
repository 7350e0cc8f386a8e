"""Rendered files in a folder of the user's: what we wrote is replaced or removed, what somebody else wrote stays.

A record beside the files says which ones we wrote, and by their digests whether somebody changed one since. Nothing is
written before all of them were looked at.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from provision import whole
from provision.errors import UsageError

# Not *.json: `kubectl apply -R -f FOLDER` would take it for an object.
RECORD = ".deploy-render"


@dataclass(frozen=True)
class Changes:
    """What has to be done so that the folder holds the rendered files."""

    write: tuple[str, ...]
    keep: tuple[str, ...]  # as it should be already
    remove: tuple[str, ...]  # what we wrote, and is rendered no more
    foreign: tuple[str, ...]  # why somebody would lose something: one sentence a file


def compare(folder: Path, platform: str, files: Mapping[str, str]) -> Changes:
    """What `write` would do; reads alone.

    Raises:
        UsageError: the record is none, or something cannot be read.
    """
    recorded = _record(folder)
    ours: Mapping[str, str] = recorded.get(platform, {})
    others = {path: name for name, paths in recorded.items() if name != platform for path in paths}
    found = {path: _digest_of(folder / path) for path in {*files, *ours}}
    wanted = {path: _digest(text) for path, text in files.items()}
    write = tuple(path for path in files if found[path] != wanted[path])
    remove = tuple(path for path in ours if path not in files and found[path])

    def foreign() -> Iterator[str]:
        for path in (*write, *remove):
            if not found[path] or found[path] == ours.get(path):
                continue
            if path in ours:
                yield f"{folder / path}: somebody changed it since it was rendered."
            elif path in others:
                yield f"{folder / path}: deploy render {others[path]} wrote it."
            else:
                yield f"{folder / path}: deploy render did not write it."

    return Changes(write, tuple(path for path in files if path not in write), remove, tuple(foreign()))


def write(folder: Path, platform: str, files: Mapping[str, str], changes: Changes) -> None:
    """Make it so, each file at once or not at all.

    Raises:
        UsageError: a file cannot be written.
    """
    others = {
        name: {path: mark for path, mark in paths.items() if path not in files}
        for name, paths in _record(folder).items()
    }
    recorded = {**others, platform: {path: _digest(text) for path, text in files.items()}}
    text = json.dumps(recorded, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    for path in changes.write:
        _replace(folder / path, files[path])
    for path in changes.remove:
        (folder / path).unlink()
        _prune(folder, path)
    if _digest_of(folder / RECORD) != _digest(text):
        _replace(folder / RECORD, text)


def _record(folder: Path) -> dict[str, dict[str, str]]:
    """By platform, the paths that we wrote, with the digests of what."""
    file = folder / RECORD
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
        return {platform: dict(paths) for platform, paths in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UsageError(
            f"{file}: cannot be read.", why=str(error), next_step="remove it, then render with --force"
        ) from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _digest_of(file: Path) -> str:
    """Empty where there is nothing; a link is never what we wrote."""
    if file.is_symlink():
        return "a link"
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise UsageError(f"{file}: cannot be read.", why=f"{error.strerror}.") from None


def _replace(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        whole.write(file, text.encode(), (0o777 if text.startswith("#!") else 0o666) & ~_umask())
    except OSError as error:
        raise UsageError(f"{file}: cannot be written.", why=f"{error.strerror}.") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _prune(folder: Path, path: str) -> None:
    """Remove the folders that nothing is in any more."""
    for parent in PurePosixPath(path).parents:
        if str(parent) == "." or any((folder / parent).iterdir()):
            return
        (folder / parent).rmdir()
