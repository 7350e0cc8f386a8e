"""Whose folder a path is: one project each.

The name of the project tells, not the machine that deploys: whoever has the project may deploy it. Another project
would end the services of the first as no longer declared, so it is refused unless it says whose place it takes.
"""

from __future__ import annotations

import os

from ..contract.failure import REFUSED, Failure
from ..contract.layout import Layout
from . import state as states
from .journal import Journal

_OWN_FOLDERS = ("releases", "shared", ".deploy", "stable", "canary")  # of a project, in its path


def check(layout: Layout, project: str, take_over: str = "") -> None:
    """Refuse to change what is another project's.

    Args:
        take_over: the other project, where this one is to take its place.

    Raises:
        Failure: it is another's, and not the one to be taken over from.
    """
    state = states.read_state(layout)
    there = state.project or _begun(layout)
    if not there:
        _not_inside_another(layout)
    if there in ("", project, take_over) or not project:
        return
    runs = ", ".join(sorted(state.programs))
    raise Failure(
        REFUSED,
        f"{layout.root} is the folder of project {there!r}, and this is {project!r}.",
        why=f"A deploy would end what runs there: {runs}." if runs else "Its releases and data are there.",
        next_step=f"give this target a path of its own; or, to take its place on purpose (or if it was renamed): "
        f"deploy up --take-over {there}",
    )


def _begun(layout: Layout) -> str:
    """The project whose first deploy was cut short."""
    open_ = Journal(layout.journal).left_open()
    return open_.begin["after"].get("project", "") if open_ else ""


def _not_inside_another(layout: Layout) -> None:
    """A project keeps order in folders of its own, and removes there what it does not know."""
    above, name = os.path.split(os.path.normpath(layout.root))
    while name:
        if name in _OWN_FOLDERS and os.path.exists(Layout(above).state):
            raise Failure(
                REFUSED,
                f"{layout.root} lies in {above}/{name}, which the project in {above} keeps for itself.",
                next_step="give this target another path in deploy.toml",
            )
        above, name = os.path.split(above)
