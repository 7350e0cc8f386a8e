"""What of a project is believed on a host, and whether it is all ours.

One look at a conversation's begin: folders down to the project's and to the host's own, then what lies directly in
those that something is read from, run from or written to by name. What is deeper is in folders that only we could have
made. Uploads belong to the login account until they are sealed, and what services keep in `shared` is not believed.
"""

from __future__ import annotations

import os
from typing import Iterator, Optional

from . import trust
from .layout import Layout, host_folder
from .protocol import REFUSED, AgentError

_INCOMING = ".incoming-"


def fault(layout: Layout) -> Optional[trust.Fault]:
    """The first thing that somebody else could have put there, or could change; None where there is none."""
    for path in (layout.private, host_folder()):
        found = trust.fault(path)
        if found:
            return found
    for path in believed(layout):
        found = _here(path)
        if found:
            return found
    return None


def is_ours(folder: str) -> bool:
    """Whether nobody else can have put there what lies directly in `folder`."""
    return trust.fault(folder) is None


def believed(layout: Layout) -> Iterator[str]:
    """What has to be ours, each folder before what lies in it."""
    for name in ("releases", "shared", "deploy-ctl", "stable", "canary"):
        yield os.path.join(layout.root, name)
    yield layout.logs  # a supervisor opens files there by name
    base = host_folder()
    for folder in (
        layout.releases,
        layout.models,
        layout.engines,
        layout.prepared,
        layout.private,
        *(os.path.join(layout.private, name) for name in ("agents", "history", "transactions", "locks", "containers")),
        layout.run,
        *(os.path.join(base, name) for name in ("", "projects", "supervisord", "supervisord/conf.d")),
    ):
        yield folder
        if os.path.isdir(folder):
            yield from (entry.path for entry in os.scandir(folder) if not entry.name.startswith(_INCOMING))


def _here(path: str) -> Optional[trust.Fault]:
    try:
        return trust.own(path) or (trust.fault(path) if os.path.islink(path) else None)
    except FileNotFoundError:
        return None


def refusal(root: str, found: trust.Fault) -> AgentError:
    """The refusal that says what is wrong, and the ways out."""
    by_hand = f"by hand: {found.remedy}; " if found.remedy else ""
    return AgentError(
        REFUSED,
        f"what lies at {root} can't be trusted: {found}.",
        why="Who can change that decides what this account runs, so nothing there is believed.",
        next_step=f"deploy host mend; {by_hand}or another `path` for the target in deploy.toml. "
        "Meanwhile deploy status, logs and down work",
        untrusted={"path": found.path, "why": found.why},
    )
