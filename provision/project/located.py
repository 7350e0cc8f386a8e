"""What a later step refuses, with its place in `deploy.toml`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from provision.errors import DeclarationError, Problem, UnencodableValue
from provision.project.fault import Fault
from provision.project.fault import Path as KeyPath
from provision.project.toml import TomlFile


@contextmanager
def located(declaration: TomlFile) -> Iterator[None]:
    """Say of a value that no file can hold where `declaration` has it.

    Raises:
        DeclarationError: an `UnencodableValue` was raised inside.
    """
    try:
        yield
    except UnencodableValue as error:
        raise declaration_error([error], declaration) from None


def declaration_error(refusals: Iterable[UnencodableValue], declaration: TomlFile) -> DeclarationError:
    """The refusals with their places, in the order of the file."""
    # A value that a preset brings stands nowhere: then it is the service's place.
    faults = (Fault(_path(refusal.subject), f"{refusal.reason}.") for refusal in refusals)
    return DeclarationError(declaration.problems(faults))


def remarked(declaration: TomlFile, remarks: Iterable[tuple[str, str]]) -> list[Problem]:
    """Sentences about values, each under the name that a refusal would have, with their places."""
    return declaration.problems(Fault(_path(subject), f"{text}.") for subject, text in remarks)


def _path(subject: str) -> KeyPath:
    """`services.web.secrets[0]` in steps."""
    steps = re.findall(r"\[(\d+)\]|([^.\[]+)", subject)
    return tuple(int(index) if index else key for index, key in steps)
