"""What is sound and still does not do what it was written for; `deploy check` warns of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from provision.project.fault import Fault
from provision.project.schema import Prepare, Project

_INSTALLS = re.compile(
    r"\buv\b.*\bsync\b|\bpip3?\b.*\binstall\b|\b(poetry|pdm|pipenv)\b.*\b(install|sync)\b", re.DOTALL
)
_ENVIRONMENTS = {".venv", "venv", "env"}
_REQUIREMENTS = re.compile(r"(?:-r|--requirement)[ =]*(\S+)")
_AT_HOME = re.compile(r"readlink|realpath|no-install-project")  # it goes round it


def traps(project: Project) -> Iterator[Fault]:
    """Each with what to write instead."""
    if project.prepare and not project.python:
        yield from _environment(project.prepare)


def _environment(prepare: Prepare) -> Iterator[Fault]:
    """A release is prepared in a folder that is called otherwise later on, and an environment notes where it lies."""
    said = " ".join(prepare.command)
    made = next((path for path in prepare.outputs if PurePosixPath(path).name in _ENVIRONMENTS), None)
    if made is None or not _INSTALLS.search(said) or _AT_HOME.search(said):
        return
    named = _REQUIREMENTS.search(said)
    instead = f'[python] requirements = "{named[1]}"' if named else '[python] project = "."'
    message = (
        f"it makes {made} in a folder that has another name once the release is used, and then neither its console "
        "scripts nor a project that is installed editable (every src layout) are found."
    )
    yield Fault(("prepare", "command"), message, f"Instead of [prepare]: {instead}.")
