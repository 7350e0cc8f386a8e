"""Rules about the Python environment: one source, and no key that counts for nothing."""

from __future__ import annotations

from collections.abc import Iterator

from provision.contract.names import ENVIRONMENT
from provision.project.fault import Fault
from provision.project.rules.view import Sound


def _source(view: Sound) -> Iterator[Fault]:
    python = view.python
    if python is None:
        return
    if python.requirements and python.project is not None:
        yield Fault(("python", "project"), "stands beside requirements.", "Keep one of the two.", at_key=True)
    elif not python.requirements and python.project is None and python.source == "environment":
        hint = 'Add requirements = "requirements.txt", or project = "." for a pyproject.toml.'
        yield Fault(("python",), "says nothing of what is in the environment.", hint, at_key=True)


def _idle(view: Sound) -> Iterator[Fault]:
    python = view.python
    if python is None:
        return
    for key in ("extras", "groups"):
        if getattr(python, key) and python.project is None:
            message = f"{key} are a pyproject.toml's, and count for nothing without project."
            yield Fault(("python", key), message, 'Add project = ".", or leave them out.', at_key=True)
    if "wheels" in python.model_fields_set and python.source == "host":
        message = "counts for nothing where the host brings every package."
        yield Fault(("python", "wheels"), message, 'Leave it out, or source = "host".', at_key=True)


def _prepared(view: Sound) -> Iterator[Fault]:
    if view.python is None or view.python.source == "host" or view.prepare is None:
        return
    for index, path in enumerate(view.prepare.outputs):
        if path.split("/")[0] == ENVIRONMENT:
            message = f'"{path}" is where the environment of [python] is.'
            yield Fault(("prepare", "outputs", index), message, "Leave it out: the step finds the environment made.")


RULES = (_source, _idle, _prepared)
