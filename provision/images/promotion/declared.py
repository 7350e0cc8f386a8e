"""`promotion.toml`: which images a project promotes, and what it demands of each.

It stands beside the public keys and apart from deploy.toml, so that those who may change what counts as proven can be
asked for just these two files (CODEOWNERS), and so that a repository without any host can promote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from provision.errors import DeclarationError, UsageError
from provision.images.promotion.policy import Policy
from provision.images.registry.reference import Reference, parse
from provision.project.fault import Fault, did_you_mean, nearest
from provision.project.toml import read_toml
from provision.project.units import parse_seconds

FILE = "promotion.toml"
_KEYS = ("repository", "checks", "min_age", "max_age", "who", "unsigned")


@dataclass(frozen=True)
class DeclaredImage:
    """An image that is promoted, and the rules for it."""

    repository: Reference
    policy: Policy
    unsigned: bool = False  # consent: it is promoted without evidence where the project has no keys


def find_image(directory: Path, name: str) -> DeclaredImage:
    """The image that `name` means: one of promotion.toml, or `REGISTRY/REPOSITORY`, whose rules apply just as well.

    Raises:
        UsageError: it means nothing.
        DeclarationError: the file is wrong; it carries every problem.
    """
    declared = _read(directory / FILE)
    if name in declared:
        return declared[name]
    if "/" not in name:
        hint = nearest(name, declared, "images") or f"Declare it there: [{name}], or give REGISTRY/REPOSITORY."
        raise UsageError(f'{FILE} has no image "{name}". {hint}')
    reference = parse(name)
    known = (image for image in declared.values() if image.repository.name == reference.name)
    return next((replace(image, repository=reference) for image in known), DeclaredImage(reference, Policy()))


def unsigned_images(directory: Path) -> list[str]:
    """The images of promotion.toml that may be promoted without evidence, by the names of their tables.

    Raises:
        DeclarationError: as `find_image`.
    """
    return [name for name, image in _read(directory / FILE).items() if image.unsigned]


def policy_of(directory: Path, repository: Reference) -> Policy | None:
    """What promotion.toml demands of images in `repository`; None where it does not name it.

    Raises:
        DeclarationError: as `find_image`.
    """
    images = _read(directory / FILE).values()
    return next((image.policy for image in images if image.repository.name == repository.name), None)


def _read(file: Path) -> dict[str, DeclaredImage]:
    try:
        declaration = read_toml(file)
    except FileNotFoundError:
        return {}
    faults: list[Fault] = []
    found: dict[str, DeclaredImage] = {}
    for name, table in declaration.values.items():
        image = _image(name, table, faults)
        for other, known in found.items():
            if image.repository.repository and image.repository.name == known.repository.name:
                faults.append(
                    Fault((name, "repository"), f'is that of "{other}" as well.', "Give it one set of rules.")
                )
        found[name] = image
    if faults:
        raise DeclarationError(declaration.problems(faults))
    return found


def _image(name: str, table: object, faults: list[Fault]) -> DeclaredImage:
    """One table; what is wrong with it is added to `faults`, and then the result is of no use."""
    nothing = DeclaredImage(Reference("", ""), Policy())
    if not isinstance(table, dict):
        faults.append(Fault((name,), "expected a table.", f"Write [{name}] above its keys.", at_key=True))
        return nothing
    for key in table.keys() - set(_KEYS):
        hint = did_you_mean(key, _KEYS) or f"Known keys: {', '.join(_KEYS)}."
        faults.append(Fault((name, key), "unknown key.", hint, at_key=True))
    before = len(faults)
    if "repository" not in table:
        faults.append(Fault((name, "repository"), "missing.", 'Such as "ghcr.io/owner/app".'))
    repository = nothing.repository
    try:
        repository = parse(_text(table.get("repository", "x/x")))
        if repository.wanted:
            raise ValueError("expected a repository without tag or digest")
    except (ValueError, UsageError) as error:
        faults.append(Fault((name, "repository"), f"{error.why if isinstance(error, UsageError) else error}."))
    unsigned = table.get("unsigned", False)
    if not isinstance(unsigned, bool):
        faults.append(Fault((name, "unsigned"), "expected true or false."))
    checks, who = (_texts(name, key, table, faults) for key in ("checks", "who"))
    ages = [_age(name, key, table, faults) for key in ("min_age", "max_age")]
    if len(faults) > before:
        return nothing
    return DeclaredImage(repository, Policy(checks, ages[0] or timedelta(), ages[1], who), unsigned is True)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("expected text in quotes")
    return value


def _texts(name: str, key: str, table: Mapping[str, Any], faults: list[Fault]) -> tuple[str, ...]:
    value = table.get(key, [])
    example = "ada" if key == "who" else "health"
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        faults.append(Fault((name, key), "expected a list of names.", f'Such as {key} = ["{example}"].'))
        return ()
    if key in table and not value:
        faults.append(Fault((name, key), "is empty, which demands nothing.", "Leave the key out."))
    return tuple(value)


def _age(name: str, key: str, table: Mapping[str, Any], faults: list[Fault]) -> timedelta | None:
    if key not in table:
        return None
    try:
        return timedelta(seconds=parse_seconds(table[key]))
    except (ValueError, OverflowError) as error:
        faults.append(Fault((name, key), f"{error}."))
        return None
