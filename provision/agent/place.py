"""Whether programs can be started from where a project's folder is."""

from __future__ import annotations

import os
import pwd
import stat
from typing import Optional

from ..contract.failure import REFUSED, Failure
from . import files, trust


def check(root: str, user: str) -> None:
    """Refuse where nothing can be started, or where an account doesn't get to.

    Args:
        user: who a service runs as; empty for this account.

    Raises:
        Failure: it is such a place.
    """
    there = files.nearest(root)
    if os.statvfs(there).f_flag & os.ST_NOEXEC:
        raise Failure(
            REFUSED,
            f"{there} is mounted noexec, so nothing can be started from {root}.",
            next_step="give the target another path, or mount it without noexec",
        )
    closed = _closed_to(user, there) if user else None
    if closed:
        raise Failure(
            REFUSED,
            f"{closed}, and a service runs as {user} below it.",
            next_step=f"on the host: {closed.remedy}; or give the target another path",
        )


def _closed_to(user: str, path: str) -> Optional[trust.Fault]:
    """The first folder, from `/` down to `path`, that does not let an account through; by its mode alone."""
    who = pwd.getpwnam(user)
    groups = os.getgrouplist(user, who.pw_gid)
    path = os.path.realpath(path) + "/"
    for folder in (path[:end] or "/" for end, letter in enumerate(path) if letter == "/"):
        found = os.stat(folder)
        of_group = stat.S_IXGRP if found.st_gid in groups else stat.S_IXOTH
        needed = stat.S_IXUSR if found.st_uid == who.pw_uid else of_group
        if not found.st_mode & needed and not trust.has_acl(folder):
            return trust.shut(folder, user)
    return None
