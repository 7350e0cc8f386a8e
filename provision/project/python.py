"""The Python environment of a project, as it is declared."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from provision.project.fault import Fault
from provision.project.section import Section
from provision.project.values import PACKAGE, PYTHON_VERSION, String, Variable

LOCK = "deploy.lock"  # which `provision.release.lock` makes and reads


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _inside(path: str) -> str:
    plain = posixpath.normpath(path)
    if not path or path.startswith(("/", "~")) or plain.split("/")[0] == ".." or "\0" in path:
        raise ValueError("expected a path inside the project.")
    return plain


_Inside = Annotated[String, AfterValidator(_inside)]
_FILES = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
_Package = Annotated[str, Field(pattern=PACKAGE)]


class Python(Section):
    """The one Python environment of all services: what is in it, and where it comes from."""

    requirements: Annotated[tuple[_Inside, ...], BeforeValidator(_listed), _FILES] = ()
    """A file of requirements as pip reads it, or several."""
    project: _Inside | None = None
    """The folder of a pyproject.toml, such as "."; its uv.lock is used where there is one. It is installed editable."""
    version: Annotated[String, Field(pattern=PYTHON_VERSION)] | None = None
    """The Python, such as "3.12" (default: what the project demands, else the host's own)."""
    extras: tuple[_Package, ...] = ()
    """With `project`: its optional dependencies that are installed."""
    groups: tuple[_Package, ...] = ()
    """With `project`: its groups of dependencies that are installed."""
    wheels: Literal["host", "ship"] = "host"
    """Whether the host fetches packages from the index, or this machine does and ships them, once by content."""
    source: Literal["environment", "host"] = "environment"
    """"host": the host brings Python and every package; what is missing there is named before traffic."""
    secrets: tuple[Variable, ...] = ()
    """Variables that uv is given, such as UV_DEFAULT_INDEX with a login; from .env, and no host keeps them."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The files that say what is in it, those that need not be there as well."""
        if self.project is None:
            return self.requirements
        return tuple(posixpath.normpath(f"{self.project}/{name}") for name in ("pyproject.toml", "uv.lock"))

    def missing(self, root: Path) -> Iterator[Fault]:
        """What it is made from and is not there."""
        for index, name in enumerate(self.requirements):
            if not (root / name).is_file():
                place = (index,) if self.requirements[1:] else ()
                hint = "Make it, or name another."
                yield Fault(("python", "requirements", *place), f'there is no file "{name}".', hint)
        if self.project is not None and not (root / self.project / "pyproject.toml").is_file():
            hint = 'Name its folder, or requirements = "requirements.txt" instead.'
            yield Fault(("python", "project"), f'there is no pyproject.toml in "{self.project}".', hint)
