"""What images there are: images/docker-bake.json names them, images/NAME/ says what each is made of.

The bake file has the form that `docker buildx bake -f` reads as well. What it has no place for (which programs, which
packages) stands in images/NAME/image.toml.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from provision.errors import DeclarationError, UsageError
from provision.images.build import checks as declared_checks
from provision.project.fault import Fault, nearest
from provision.project.toml import read_toml

FOLDER = "images"
_FILE = "docker-bake.json"
# Completions; /health alone; nothing, as it talks on standard input: its HEALTHCHECK has to do.
SERVES = ("llama", "http", "stdin")


@dataclass(frozen=True)
class Recipe:
    """One image.

    Its layers are the folders that the Dockerfile copies: `cuda/` (its libraries), `native/` (programs, probe,
    licences), `python/` (packages), `app/` (our own code, and the files of images/NAME/app), and `state/` (an empty
    one, the user's own).
    """

    name: str
    folder: Path  # images/NAME: Dockerfile, image.toml and perhaps app/
    context: Path  # what the builder is given
    title: str
    description: str
    licenses: str  # an SPDX expression
    platforms: tuple[str, ...]
    base: str = ""  # a base of the lock file, or another of these images; empty: FROM scratch
    profile: str = ""  # of native/CMakePresets.json
    source: str = ""  # of its programs, as `deploy native build --source` takes it; empty: the pinned llama.cpp
    define: Mapping[str, str] = field(default_factory=dict)  # CMake variables for them
    programs: tuple[str, ...] = ()
    programs_in: str = "/"
    toolkit: str = ""  # of CUDA, for the profile `cuda`: "pinned"; its libraries lie beside the programs
    python: str = ""  # the version that the base has, such as "3.11"; empty: no packages
    python_in: str = ""
    requirements: str = ""  # of its packages: a file in `folder` that pins them with hashes
    files: Mapping[str, str] = field(default_factory=dict)  # more of `app/`: place in the image, file or folder here
    state: bool = False  # it writes: to a folder that the Dockerfile names, and to /tmp
    probe: str = ""  # where the probe is in the image
    serves: str = "llama"  # what the smoke test asks it for: one of SERVES
    port: int = 0  # where it is asked over HTTP; 0: the probe knows
    checks: tuple[Mapping[str, Any], ...] = ()  # what the smoke test asks besides (see `checks`)
    secrets: tuple[str, ...] = ()  # variables that it does not start without; the smoke test makes some up
    drains: bool = False  # requests in flight are finished after SIGTERM


def read_recipes(root: Path) -> dict[str, Recipe]:
    """The images of the project in `root`, by name, in the order of the bake file.

    Raises:
        UsageError: there are none, or a file does not say what it has to.
    """
    file = root / FOLDER / _FILE
    try:
        targets = json.loads(file.read_text(encoding="utf-8"))["target"]
        return {name: _recipe(root, name, target) for name, target in targets.items()}
    except FileNotFoundError as missing:
        raise UsageError(
            f"{missing.filename} is missing.", next_step="deploy image build -C DIR, where DIR has a folder images/"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file} cannot be read.", why=f"{type(error).__name__}: {error}") from None


def find(root: Path, name: str) -> Recipe:
    """One of them.

    Raises:
        UsageError: there is no such image.
    """
    recipes = read_recipes(root)
    if name not in recipes:
        raise UsageError(f"there is no image {name}.", why=f"{root / FOLDER / _FILE} has {', '.join(recipes)}.")
    return recipes[name]


def with_bases(root: Path, names: Iterable[str], given: Collection[str] = ()) -> list[Recipe]:
    """The images called `names`, each once and after the one that it is based on.

    Args:
        given: bases that are there already, and need not be built.

    Raises:
        UsageError: there is no such image, or one is based on itself.
    """
    known, ordered = read_recipes(root), dict[str, Recipe]()

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise UsageError(f"{FOLDER}/{name} is based on itself.", why=" <- ".join([*above, name]))
        recipe = known.get(name) or find(root, name)
        if recipe.base in known and recipe.base not in given:
            add(recipe.base, (*above, name))
        ordered.setdefault(name, recipe)

    for name in names:
        add(name, ())
    return list(ordered.values())


def _recipe(root: Path, name: str, target: dict[str, Any]) -> Recipe:
    folder = root / FOLDER / name
    declaration = read_toml(folder / "image.toml")
    if faults := list(_faults(declaration.values)):
        raise DeclarationError(declaration.problems(faults))
    said: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in declaration.values.items()
    }
    try:
        return Recipe(name=name, folder=folder, context=root / target["context"], **said)
    except TypeError as error:
        raise UsageError(f"{declaration.shown}: {error}") from None


def _faults(said: Mapping[str, Any]) -> Iterator[Fault]:
    known = [field.name for field in fields(Recipe) if field.name not in ("name", "folder", "context")]
    for key in said.keys() - set(known):
        yield Fault((key,), "unknown key.", nearest(key, known, "keys"), at_key=True)
    if (serves := said.get("serves", "llama")) not in SERVES:
        yield Fault(("serves",), f"expected one of {', '.join(SERVES)}, not {serves!r}.")
    checks = said.get("checks", [])
    for number, check in enumerate(checks if isinstance(checks, list) else [checks]):
        try:
            declared_checks.parse_check(check)
        except ValueError as error:
            yield Fault(("checks", number), f"{str(error).removeprefix('checks: ')}.")
