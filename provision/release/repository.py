"""What git would ignore in a folder because of rules that lie outside of it (gitignore(5))."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

_SECONDS = 10.0
_OF_ANOTHER = {"GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_PREFIX"}  # which a hook hands on


def rules_outside(root: Path) -> Iterator[tuple[Path, str]]:
    """The files with rules that count in `root` besides its own, the strongest first; none without git.

    With each, where `root` lies in the folder whose paths the file speaks of: "" or "a/b/".
    A repository that ignores `root` itself has nothing to say about what is in it: a home folder under git, say.
    """
    root = root.resolve()
    if not any((folder / ".git").exists() for folder in (root, *root.parents)) or not shutil.which("git"):
        return
    answer = _git(root, "rev-parse", "--show-prefix", "--git-path", "info/exclude")
    if answer is None:
        return
    prefix, exclude = answer.split("\n")[:2]
    if prefix and _git(root, "check-ignore", "--quiet", "--no-index", str(root)) is not None:
        return
    above = [root, *root.parents][1 : prefix.count("/") + 1]
    for depth, folder in enumerate(above, 1):
        yield folder / ".gitignore", "/".join(prefix.split("/")[-1 - depth :])
    yield root / exclude, prefix
    chosen = _git(root, "config", "--type=path", "--get", "core.excludesFile")
    config = os.environ.get("XDG_CONFIG_HOME") or f"{os.environ.get('HOME', '')}/.config"
    yield Path(chosen.rstrip("\n")) if chosen else Path(config, "git", "ignore"), prefix


def _git(root: Path, *words: str) -> str | None:
    """What a command of git says; None where it fails."""
    environ = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER}
    try:
        done = subprocess.run(["git", *words], cwd=root, env=environ, capture_output=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return os.fsdecode(done.stdout)
