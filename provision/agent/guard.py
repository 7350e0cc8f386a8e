"""What of a project is believed on a host, and whether it is all ours.

One look at a conversation's begin: folders down to the project's and to the host's own, then what lies directly in
those that something is read from, run from or written to by name. What is deeper is in folders that only we could have
made. Uploads belong to the login account until they are sealed, and what services keep in `shared` is not believed.
What is being mended is not believed before that is over: its folders are closed first, its content is compared then.
"""

from __future__ import annotations

import os
from typing import Callable, Dict, Iterator, Optional

from ..contract.failure import REFUSED, Failure
from ..contract.layout import Layout
from . import files, trust
from .folders import host_folder

UNBELIEVED = (".incoming-", ".trash-", ".set-aside-")  # how names of what is not believed begin


def fault(layout: Layout) -> Optional[trust.Fault]:
    """The first thing that somebody else could have put there, or could change; None where there is none."""
    return top(layout) or below(layout)


def top(layout: Layout) -> Optional[trust.Fault]:
    """What is wrong on the way down to the project's own notes and the host's, or with them as a whole."""
    found = trust.fault(layout.private) or trust.fault(host_folder())
    if found is None and os.path.lexists(layout.mending):
        found = trust.Fault(layout.root, "is being mended, or was not to the end", "")
    return found


def below(layout: Layout) -> Optional[trust.Fault]:
    """As `fault`, of what is believed by name."""
    try:
        for path in believed(layout):
            found = _here(path)
            if found:
                return found
    except OSError as error:
        return trust.Fault(str(error.filename), f"cannot be looked at: {error.strerror}", "")
    return None


def note(layout: Layout, path: str) -> Dict[str, object]:
    """What we noted at `path`, in the project's own folder; nothing where others may have, or that is no such file."""
    if top(layout):
        return {}
    found = files.read_plain_json(path)
    return found if isinstance(found, dict) else {}


def is_ours(folder: str) -> bool:
    """Whether nobody else can have put there what lies directly in `folder`."""
    return trust.fault(folder) is None


def _all(_: str) -> bool:
    return True


def believed(layout: Layout, looks: Callable[[str], bool] = _all) -> Iterator[str]:
    """What has to be ours, each folder before what lies in it; only what `looks` is true of is looked into.

    Raises:
        OSError: a folder can't be looked into.
    """
    for name in ("releases", "shared", "deploy-ctl", "stable", "canary"):
        yield os.path.join(layout.root, name)
    yield layout.logs  # a supervisor opens files there by name
    base = host_folder()
    for folder in (
        layout.releases,
        layout.models,
        layout.engines,
        layout.haproxies,
        layout.environments,
        layout.pythons,
        layout.prepared,
        layout.private,
        layout.evidence,
        *(os.path.join(layout.private, name) for name in ("agents", "history", "transactions", "locks", "containers")),
        layout.run,
        *(os.path.join(base, name) for name in ("", "projects", "supervisord", "supervisord/conf.d")),
    ):
        yield folder
        if looks(folder) and os.path.isdir(folder):
            yield from (entry.path for entry in os.scandir(folder) if not entry.name.startswith(UNBELIEVED))


def _here(path: str) -> Optional[trust.Fault]:
    try:
        return trust.own(path) or (trust.fault(path) if os.path.islink(path) else None)
    except FileNotFoundError:
        return None


def refusal(root: str, found: trust.Fault) -> Failure:
    """The refusal that says what is wrong, and the ways out."""
    by_hand = f"by hand: {found.remedy}; " if found.remedy else ""
    return Failure(
        REFUSED,
        f"what lies at {root} can't be trusted: {found}.",
        why="Who can change that decides what this account runs, so nothing there is believed.",
        next_step=f"{by_hand}deploy host mend; or another `path` for the target in deploy.toml. "
        "Meanwhile deploy status, logs and down work",
        untrusted={"path": found.path, "why": found.why},
    )
