"""What a later step refuses, with its place in `deploy.toml`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from provision.errors import DeclarationError, Location, Problem, UnencodableValue


@contextmanager
def located(file: Path, shown: str) -> Iterator[None]:
    """Say of a value that no file can hold where `file`, which people call `shown`, declares it.

    Raises:
        DeclarationError: an `UnencodableValue` was raised inside.
    """
    try:
        yield
    except UnencodableValue as error:
        from provision.project.positions import Positions

        # A value that a preset brings stands nowhere: then it is the service's place.
        place = Positions(file.read_text(encoding="utf-8-sig")).value(tuple(error.subject.split(".")))
        raise DeclarationError([Problem(Location(shown, *place), error.subject, f"{error.reason}.")]) from None
