"""Where a project names the packages that it needs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?")
_INCLUDED = re.compile(r"\s*(?:-r|--requirement)[ =]+(\S+)")
_VERSION = re.compile(r"[0-9]+\.[0-9]+(\.[0-9]+)?")
_BRINGS_UVICORN = {"standard", "all"}  # extras of fastapi


@dataclass(frozen=True)
class Packages:
    """What `[python]` says, and what it lets know.

    Attributes:
        key: "requirements" or "project".
        value: the file, or the folder of the pyproject.toml.
        version: of Python, where the project pins one.
        names: of the packages that are named, as an index knows them.
        modules: the folder whose modules can be imported anywhere, because the project is installed.
        scripts: the programs that it then has, and what each calls.
    """

    key: str
    value: str
    version: str = ""
    names: frozenset[str] = field(default=frozenset(), repr=False)
    modules: Path | None = None
    scripts: dict[str, str] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """The one to add a package to."""
        return self.value if self.key == "requirements" else f"{self.value}/pyproject.toml".removeprefix("./")


def packages(directory: Path) -> Packages | None:
    """What names the packages of the project in `directory`, or in the one folder of it that does."""
    if found := _of(directory, directory):
        return found
    folders = [path for path in sorted(directory.iterdir()) if path.is_dir() and path.name.isprintable()]
    below = [found for folder in folders if folder.name[0] != "." and (found := _of(folder, directory))]
    return below[0] if len(below) == 1 else None


def _of(folder: Path, directory: Path) -> Packages | None:
    written = _toml(folder / "pyproject.toml")
    project, tool = _table(written, "project"), _table(written, "tool")
    declared = set(_declared(project, tool))
    pinned = re.match(_VERSION, _text(folder / ".python-version"))
    version = pinned[0] if pinned else ""
    file = folder / "requirements.txt"
    says = declared or "dependencies" in project.get("dynamic", ()) or (folder / "uv.lock").is_file()
    if (project or "poetry" in tool) and (says or not file.is_file()):
        locked = _toml(folder / "uv.lock").get("package", [])
        installs = "build-system" in written and _table(tool, "uv").get("package", True)
        return Packages(
            "project",
            folder.relative_to(directory).as_posix(),
            version,
            frozenset(declared | {_normal(str(package.get("name"))) for package in locked}),
            (folder / "src" if (folder / "src").is_dir() else folder) if installs else None,
            {name: str(place) for name, place in _table(project, "scripts").items()} if installs else {},
        )
    if not file.is_file():
        return None
    return Packages("requirements", file.relative_to(directory).as_posix(), version, frozenset(_in_file(file)))


def _declared(project: dict[str, Any], tool: dict[str, Any]) -> Iterator[str]:
    for line in project.get("dependencies", ()):
        yield from _names(str(line))
    yield from map(_normal, _table(_table(tool, "poetry"), "dependencies"))


def _in_file(file: Path, seen: tuple[Path, ...] = ()) -> Iterator[str]:
    for line in _text(file).splitlines():
        if included := _INCLUDED.match(line):
            other = file.parent / included[1]
            if other not in seen:
                yield from _in_file(other, (*seen, file))
        else:
            yield from _names(line)


def _names(line: str) -> Iterator[str]:
    if named := _REQUIREMENT.match(line):
        name = _normal(named[1])
        yield name
        if name == "fastapi" and _BRINGS_UVICORN & {extra.strip() for extra in (named[2] or "").split(",")}:
            yield "uvicorn"


def _normal(name: str) -> str:
    """Of packages: "Names and normalization"."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _table(table: dict[str, Any], key: str) -> dict[str, Any]:
    found = table.get(key)
    return found if isinstance(found, dict) else {}


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(file))
    except tomllib.TOMLDecodeError:  # said by whoever uses it
        return {}


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
