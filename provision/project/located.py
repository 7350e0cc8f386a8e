"""What a later step refuses, with its place in `deploy.toml`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from provision.errors import DeclarationError, Location, Problem, UnencodableValue
from provision.project.fault import Path as KeyPath


@contextmanager
def located(file: Path) -> Iterator[None]:
    """Say of a value that no file can hold where `file` declares it.

    Raises:
        DeclarationError: an `UnencodableValue` was raised inside.
    """
    try:
        yield
    except UnencodableValue as error:
        raise declaration_error([error], file) from None


def declaration_error(refusals: Iterable[UnencodableValue], file: Path) -> DeclarationError:
    """The refusals with their places, in the order of the file."""
    from provision.project.positions import Positions

    shown = os.path.relpath(file)
    positions = Positions(file.read_text(encoding="utf-8-sig"))
    # A value that a preset brings stands nowhere: then it is the service's place.
    placed = [(positions.value(_path(refusal.subject)), refusal) for refusal in refusals]
    placed.sort(key=lambda entry: entry[0])
    return DeclarationError(
        [Problem(Location(shown, *place), refusal.subject, f"{refusal.reason}.") for place, refusal in placed]
    )


def _path(subject: str) -> KeyPath:
    """`services.web.secrets[0]` in steps."""
    steps = re.findall(r"\[(\d+)\]|([^.\[]+)", subject)
    return tuple(int(index) if index else key for index, key in steps)
