"""Whether programs can be started from where a project's folder is."""

from __future__ import annotations

import os
import pwd
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


def grants(user: str, path: str, access: int) -> bool:
    """Whether a mode lets an account do `access` (of os.R_OK, os.W_OK, os.X_OK); where an ACL says more, it does."""
    who, found = pwd.getpwnam(user), os.stat(path)
    if found.st_uid == who.pw_uid:
        granted = found.st_mode >> 6
    elif found.st_gid in os.getgrouplist(user, who.pw_gid):
        granted = found.st_mode >> 3
    else:
        granted = found.st_mode
    return granted & access == access or trust.has_acl(path)


def _closed_to(user: str, path: str) -> Optional[trust.Fault]:
    """The first folder, from `/` down to `path`, that does not let an account through."""
    path = os.path.realpath(path) + "/"
    for folder in (path[:end] or "/" for end, letter in enumerate(path) if letter == "/"):
        if not grants(user, folder, os.X_OK):
            return trust.shut(folder, user)
    return None
