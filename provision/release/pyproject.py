"""What a pyproject.toml says of the project itself: what an editable install would make, without running its build.

A build system decides at build time, with packages that nothing pins. What it would write for an editable install is
known beforehand: where the modules are, which scripts there are, and the name. What it would compile is not made.
"""

from __future__ import annotations

import posixpath
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provision.contract.canonical import digest
from provision.contract.release import Distribution, LayerDocument
from provision.errors import UsageError

_CONSOLE = "console_scripts"


@dataclass(frozen=True)
class PyProject:
    """One pyproject.toml.

    Attributes:
        folder: where it is, relative to the project.
    """

    folder: str
    values: dict[str, Any]
    has_src: bool

    @classmethod
    def read(cls, root: Path, folder: str) -> PyProject:
        """The one in `folder`.

        Raises:
            UsageError: it is not there, or is no TOML.
        """
        path = root / folder / "pyproject.toml"
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{posixpath.join(folder, 'pyproject.toml')} cannot be read.", why=str(error)) from None
        return cls(posixpath.normpath(folder), values, (root / folder / "src").is_dir())

    @property
    def requires(self) -> str:
        """The Python that it demands; empty where it says nothing."""
        return str(self._table("project").get("requires-python", ""))

    @property
    def is_package(self) -> bool:
        """Whether it is installed itself, by uv's own rule."""
        said = self._table("tool", "uv").get("package")
        return "build-system" in self.values if said is None else bool(said)

    @property
    def indexes(self) -> list[dict[str, Any]]:
        """Where uv looks for packages."""
        return [index for index in self._table("tool", "uv").get("index", []) if isinstance(index, dict)]

    @property
    def source(self) -> str:
        """The folder in which its modules are, relative to the project that is deployed."""
        tools = self._table("tool")
        setuptools = self._table("tool", "setuptools")
        found = setuptools.get("packages", {})
        where = found.get("find", {}).get("where", []) if isinstance(found, dict) else []
        hatch = self._table("tool", "hatch", "build", "targets", "wheel").get("packages", [])
        said = [
            *[folder for name, folder in setuptools.get("package-dir", {}).items() if name == ""],
            *where,
            *(posixpath.dirname(package) or "." for package in hatch),
            *[root for root in [tools.get("uv", {}).get("build-backend", {}).get("module-root")] if root is not None],
        ]
        return posixpath.normpath(posixpath.join(self.folder, said[0] if said else "src" if self.has_src else "."))

    def distribution(self) -> Distribution:
        """As `importlib.metadata` will tell of it.

        Raises:
            UsageError: it has no name.
        """
        project = self._table("project")
        if not project.get("name"):
            raise UsageError(
                f"{posixpath.join(self.folder, 'pyproject.toml')} gives the project no name.",
                why="A package is installed by its [project] name.",
                next_step="add one, or package = false below [tool.uv] where it is no package",
            )
        groups = {**project.get("entry-points", {}), _CONSOLE: self.scripts}
        lines = [
            line
            for group, entries in sorted(groups.items())
            if entries
            for line in (f"[{group}]", *(f"{name} = {value}" for name, value in sorted(entries.items())), "")
        ]
        # A version that its build would have found is not known here.
        version = str(project.get("version", "0"))
        return {"name": str(project["name"]), "version": version, "entry_points": "\n".join(lines)}

    @property
    def scripts(self) -> dict[str, str]:
        """Its commands: name -> module:function."""
        return {
            str(name): str(value).split("[")[0].strip()
            for name, value in self._table("project").get("scripts", {}).items()
        }

    def _table(self, *keys: str) -> dict[str, Any]:
        found: Any = self.values
        for key in keys:
            found = found.get(key, {}) if isinstance(found, dict) else {}
        return found if isinstance(found, dict) else {}


def layer(environment: str, projects: list[PyProject]) -> LayerDocument | None:
    """What these add to an environment; None where none is a package."""
    packages = [each for each in projects if each.is_package]
    if not packages:
        return None
    sources = list(dict.fromkeys(each.source for each in packages))
    distributions = [each.distribution() for each in packages]
    scripts = {name: value for each in packages for name, value in each.scripts.items()}
    id_ = digest([environment, sources, distributions, scripts])
    return {"id": id_, "sources": sources, "distributions": distributions, "scripts": scripts}
