"""A target that names another supervisor than the one that runs its programs now.

Nobody would end those: the new supervisor does not know them. So they are ended first, by the one that has them.
"""

from __future__ import annotations

import os

from ..contract.failure import REFUSED, Failure
from ..contract.layout import Layout
from ..contract.state import State
from .supervisors import Supervisor, open_supervisor, options

_ANY = "any"  # a manifest's name


def serving(layout: Layout, state: State, asked: Supervisor) -> Supervisor:
    """The supervisor of what runs; the one that is asked for where nothing does.

    Raises:
        Failure: it is of another kind than is asked for, and can't be reached as it was noted.
    """
    if not state.programs or not state.platform:
        return asked
    noted = options(layout) or None
    if state.platform == asked.kind and noted is None:
        return asked
    try:
        there = open_supervisor(layout, state.platform, noted)
    except Failure:
        if state.platform != asked.kind:
            raise
        return asked  # its file was renamed or removed on the host, and the target says what it is called now
    return asked if _are_one(there, asked) else there


def check(layout: Layout, state: State, asked: Supervisor) -> None:
    """Refuse to go on under another supervisor.

    Raises:
        Failure: programs run under another one than is asked for.
    """
    there = serving(layout, state, asked)
    if there is not asked:
        raise Failure(
            REFUSED,
            f"what runs here is run by {_named(there)}, and this target says {_named(asked)}.",
            why="Nobody would end it: " + ", ".join(sorted(state.programs)) + ".",
            next_step="deploy down, which ends it where it runs; then deploy up",
        )


def _named(supervisor: Supervisor) -> str:
    return f"{supervisor.kind} ({os.path.dirname(supervisor.manifest_path(_ANY))})"


def _are_one(one: Supervisor, other: Supervisor) -> bool:
    """Whether both read the same manifests."""
    return one.kind == other.kind and one.manifest_path(_ANY) == other.manifest_path(_ANY)
