"""The few things that a build asks git."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from provision.errors import DeployError, UsageError
from provision.events import OnEvent, message
from provision.packages import install

# Never ask for a password: a build may run where nobody types.
_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0"}


def clone(url: str, to: Path, revision: str, on_event: OnEvent) -> None:
    """Clone with submodules, unless that was done before.

    Raises:
        DeployError: the network, or the revision, is not there.
    """
    if to.is_dir():
        return
    on_event(message("download", f"cloning {url}" + (f" at {revision}" if revision else "")))
    part = to.with_name(f".{to.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        _git("clone", "--recurse-submodules", url, str(part))
        if revision:
            _git("-C", str(part), "checkout", "--detach", revision)
            _git("-C", str(part), "submodule", "update", "--init", "--recursive")
    except subprocess.CalledProcessError as failure:
        shutil.rmtree(part, ignore_errors=True)
        raise DeployError(
            f"{url} could not be cloned" + (f" at {revision}" if revision else ""),
            why=next((line for line in failure.stderr.splitlines() if line.startswith(("fatal:", "error:"))), ""),
            next_step="give a checkout that is there already: --source DIR (with its submodule)",
        ) from None
    part.rename(to)


def tracked_files(folder: Path) -> list[str]:
    """Names of the files that git tracks in `folder` and its submodules and that exist, sorted.

    Raises:
        UsageError: not a git checkout.
    """
    listed = _ask(folder, "ls-files", "-z", "--recurse-submodules")
    return sorted(name for name in listed.split("\0") if name and (folder / name).is_file())


def state(folder: Path) -> tuple[str, bool]:
    """The commit that is checked out, and whether tracked files differ from it."""
    commit = _ask(folder, "rev-parse", "HEAD").strip()
    return commit, bool(_ask(folder, "status", "--porcelain", "--untracked-files=no"))


def _ask(folder: Path, *arguments: str) -> str:
    try:
        return _git("-C", str(folder), *arguments)
    except subprocess.CalledProcessError as failure:
        raise UsageError(
            f"{folder} is not a git checkout with a commit",
            why=failure.stderr.strip(),
            next_step="git decides which files belong to the source: clone it, or git init && git add . && git commit",
        ) from None


def _git(*arguments: str) -> str:
    if not shutil.which("git"):
        raise UsageError("git is missing", next_step=install("git"))
    done = subprocess.run(
        ["git", *arguments],
        env=os.environ | _ENVIRONMENT,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=True,
    )
    return done.stdout
