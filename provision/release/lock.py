"""deploy.lock: every package of the environment, pinned with its hashes, for each system and Python it may run on.

It is a file of requirements as pip and uv read them, below a head that says what it was made from. It is made anew only
when that changes, and then it keeps the versions that still fit.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from provision.errors import UsageError
from provision.events import OnEvent
from provision.project.python import LOCK, Python
from provision.release.pyproject import PyProject

_LEAST = "3.9"  # without a version and without a project that demands one
_HEAD = """\
# Every package of the environment, pinned with its hashes. Written by `deploy up`; keep it in version control.
# Made from sha256:{digest}
"""
_MADE_FROM = re.compile(r"^# Made from sha256:([0-9a-f]{64})$", re.MULTILINE)
_INCLUDED = re.compile(r"^\s*(?:-r|--requirement|-c|--constraint)[\s=]+(\S+)", re.MULTILINE)
_INDEX = re.compile(r"^\s*(-i|--index-url|--extra-index-url)[\s=]+(\S+)", re.MULTILINE)
_LOCAL = re.compile(r"^(?:-e\s+)?(\.\S*|file:\S+)")


@dataclass(frozen=True)
class Lock:
    """What deploy.lock says.

    Attributes:
        requirements: what is installed: its text below the head; empty where there is no lock.
        local: folders of the project that are packages themselves, relative to it.
        stale: why it is not what would be made today; empty where it is.
    """

    requirements: str
    local: tuple[str, ...]
    stale: str


def read(python: Python, root: Path) -> Lock:
    """The lock as it lies there."""
    try:
        text = (root / LOCK).read_text(encoding="utf-8")
    except FileNotFoundError:
        return Lock("", (), f"there is no {LOCK} yet")
    made_from = _MADE_FROM.search(text)
    stale = "" if made_from and made_from[1] == _digest(python, root) else f"{LOCK} is older than what it is made from"
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    here = python.project or "."
    local = tuple(posixpath.normpath(f"{here}/{found[1]}") for line in lines if (found := _LOCAL.match(line)))
    rest = "".join(f"{line}\n" for line in lines if not _LOCAL.match(line))
    return Lock(rest, local, stale)


def renew(python: Python, root: Path, variables: Mapping[str, str], on_event: OnEvent) -> None:
    """Make the lock where it is stale.

    Args:
        variables: what uv is given besides this process's environment.

    Raises:
        DeployError: no versions fit together, or the index can't be reached.
        UsageError: it asks for what only this machine has.
    """
    if not (stale := read(python, root).stale):
        return
    from provision import uv

    on_event(
        {"event": "message", "host": "", "phase": "lock", "text": f"{stale}: pinning what the environment is made of"}
    )
    digest = _digest(python, root)
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / LOCK
        if (root / LOCK).exists():
            made.write_bytes((root / LOCK).read_bytes())  # uv keeps the versions in it that fit
        folder = root / (python.project or "")
        what = f"{LOCK} could not be made: uv found no packages that fit together, or could not reach the index."
        uv.run([*_command(python, root), "--output-file", str(made)], folder, variables, what, on_event)
        text = made.read_text(encoding="utf-8")
    text = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    _only_what_hosts_have(python, text)
    (root / LOCK).write_text(_HEAD.format(digest=digest) + text, encoding="utf-8")


def indexes(python: Python, root: Path) -> tuple[list[str], list[str]]:
    """Where packages come from, as its files say: what stands for the index, and what is asked before it."""
    if python.project is not None:
        said = PyProject.read(root, python.project).indexes
    else:
        texts = [content.decode("utf-8", "replace") for _, content in _inputs(python, root)]
        found = [match for text in texts for match in _INDEX.findall(text)]
        said = [{"url": url, "default": option != "--extra-index-url"} for option, url in found]
    named = [("=".join(str(index[key]) for key in ("name", "url") if index.get(key)), index) for index in said]
    default = [text for text, index in named if index.get("default")]
    return default[-1:], [text for text, _ in named if text not in default]


def demanded(python: Python, root: Path) -> str:
    """The Python that the environment is made with, as uv takes it."""
    if python.version:
        return python.version
    return (PyProject.read(root, python.project).requires if python.project is not None else "") or f">={_LEAST}"


def _command(python: Python, root: Path) -> list[str]:
    common = ["--quiet", "--no-header", "--no-annotate"]
    chosen = [word for extra in python.extras for word in ("--extra", extra)]
    chosen += [word for group in python.groups for word in ("--group", group)]
    if python.project is not None and (root / python.project / "uv.lock").exists():
        whole = ["--locked", "--no-default-groups", "--no-emit-project", "--format", "requirements.txt"]
        return ["export", *common, *whole, *chosen]
    files = ["pyproject.toml"] if python.project is not None else list(python.requirements)
    least = re.search(r"(?:>=|~=|==|^)\s*([0-9]+\.[0-9]+)", demanded(python, root))
    universal = ["--universal", "--generate-hashes", "--python-version", least[1] if least else _LEAST]
    universal += ["--python", sys.executable]  # which has to be there, of whatever version: uv need not look for one
    return ["pip", "compile", *common, *universal, *chosen, *files]


def _only_what_hosts_have(python: Python, text: str) -> None:
    for line in text.splitlines():
        local = _LOCAL.match(line)
        if local and (python.requirements or local[1].startswith(("file:", ".."))):
            raise UsageError(
                f"the environment has {line.strip()}, a folder that no host has by that name.",
                next_step='declare the project itself: project = "." in [python] instead of requirements, with uv.lock',
            )


def _digest(python: Python, root: Path) -> str:
    """Of all that decides what is in the lock."""
    said = {"python": python.version, "extras": python.extras, "groups": python.groups}
    files = {name: hashlib.sha256(content).hexdigest() for name, content in _inputs(python, root)}
    return hashlib.sha256(json.dumps([said, files], sort_keys=True).encode()).hexdigest()


def _inputs(python: Python, root: Path) -> Iterator[tuple[str, bytes]]:
    """What it is made from, with the files that those include."""
    waiting, seen = list(python.inputs), set[str]()
    while waiting:
        name = waiting.pop()
        path = root / name
        if name in seen or not path.is_file():
            continue
        seen.add(name)
        content = path.read_bytes()
        yield name, content
        if python.project is None:
            included = _INCLUDED.findall(content.decode("utf-8", "replace"))
            waiting += [os.path.relpath(path.parent / each, root) for each in included if "://" not in each]
