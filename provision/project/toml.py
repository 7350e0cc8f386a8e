"""A TOML file that a person wrote: read in one way, and whatever is wrong with it told with its place.

TOML is UTF-8. The byte order mark that editors on Windows put before it is no mistake; any other encoding is refused,
with the line where it shows. Places are looked up only where there is something to report.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provision.errors import DeclarationError, Location, Problem, UsageError
from provision.project.fault import Fault, dotted

DECLARATION = "deploy.toml"
_OTHERWISE = ("Deploy.toml", "deploy.yaml", "deploy.yml", "deploy.json", "deploy.toml.txt")


@dataclass(frozen=True)
class TomlFile:
    """What a file says.

    Attributes:
        shown: the file as a person in the current folder would name it.
        source: its text, without a byte order mark.
    """

    shown: str
    source: str = field(repr=False)
    values: dict[str, Any] = field(repr=False)

    def problems(self, faults: Iterable[Fault]) -> list[Problem]:
        """`faults` with their places, in the order of the file."""
        if not (faults := list(faults)):
            return []
        from provision.project.positions import Positions

        positions = Positions(self.source)
        placed = [(positions.key(each.path) if each.at_key else positions.value(each.path), each) for each in faults]
        placed.sort(key=lambda entry: entry[0])
        return [
            Problem(Location(self.shown, *place), dotted(fault.path), fault.message, fault.hint)
            for place, fault in placed
        ]


def read_declaration(directory: Path) -> TomlFile:
    """`deploy.toml` in that folder, not judged yet.

    Raises:
        UsageError: there is none, or it cannot be read.
        DeclarationError: it is not TOML; says where.
    """
    file = directory / DECLARATION
    try:
        return read_toml(file)
    except FileNotFoundError:
        raise _no_declaration(directory) from None


def _no_declaration(directory: Path) -> UsageError:
    what, here = f"{shown(directory / DECLARATION)}: no such file.", directory.resolve()
    for name in _OTHERWISE:
        if (directory / name).exists():
            return UsageError(
                what, why=f"There is a {name}.", next_step=f"call it {DECLARATION}; deploy init begins one"
            )
    above = next((folder for folder in here.parents if (folder / DECLARATION).is_file()), None)
    if above:
        way = Path(*[".."] * (len(here.parts) - len(above.parts)))
        return UsageError(what, why=f"There is one in {above}.", next_step=f"--dir {way}, or cd {way}")
    return UsageError(what, next_step="deploy init")


def read_toml(file: Path) -> TomlFile:
    """What `file` says.

    Raises:
        FileNotFoundError: there is none.
        UsageError: it cannot be read.
        DeclarationError: it is not TOML in UTF-8; says where.
    """
    name = shown(file)
    try:
        source = file.read_bytes().decode("utf-8-sig")
        return TomlFile(name, source, tomllib.loads(source))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UsageError(f"{name}: cannot be read.", why=f"{error.strerror}.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem = Problem(Location(name, line), "", "not UTF-8 text.", "Save the file as UTF-8.")
        raise DeclarationError([problem]) from None
    except tomllib.TOMLDecodeError as error:
        raise DeclarationError(_duplicates(name, source) or [_not_toml(name, source, str(error))]) from None


def shown(file: Path) -> str:
    """`file` as a person in the current folder would name it."""
    try:
        return str(file.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(file)


def _duplicates(name: str, source: str) -> list[Problem]:
    """The keys and tables that are given twice, each with its place."""
    from provision.project.positions import Positions

    duplicates = Positions(source).duplicates
    again = {duplicate.path for duplicate in duplicates}
    return [
        Problem(Location(name, *found.place), dotted(found.path), f"given twice; first on line {found.first[0]}.")
        for found in duplicates
        if not any(found.path[:length] in again for length in range(len(found.path)))  # what is in a table, is too
    ]


def _not_toml(name: str, source: str, said: str) -> Problem:
    # tomllib says the place in words: "Invalid value (at line 3, column 8)", "… (at end of document)".
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", said)
    said = said[: place.start()] if place else said
    line, column = (int(place[1]), int(place[2])) if place and place[1] else (source.count("\n") + 1, 0)
    hint = "Text stands in quotes." if said == "Invalid value" else ""
    hint = hint if place and place[1] else "Something is not closed."
    if said == "Expected '=' after a key in a key/value pair":
        hint = 'Such as name = "shop"; a table begins with its name in brackets: [project].'
    if said == "Cannot overwrite a value":
        said = "a key or table of this name was given before"
    message = f"not TOML: {said[:1].lower()}{said[1:].rstrip('.')}."
    return Problem(Location(name, line, column), "", message, hint)
