"""Whom HAProxy becomes where root starts it: an account that owns nothing but the front's sockets.

Its master stays root, because it reads keys and takes ports below 1024 with each reload. What speaks with clients is a
worker, which gives up all rights and sees no files but those of the front's folder (`user`, `group` and `chroot` of the
configuration). Who is root in a container that may do none of that stays who it is.
"""

from __future__ import annotations

import grp
import os
import pwd
from functools import lru_cache
from typing import NamedTuple, Optional

_KNOWN = ("haproxy", "nobody")  # the first is that of the package
_CHOWN, _FOWNER, _KILL, _SETGID, _SETUID, _CHROOT = 0, 3, 5, 6, 7, 18  # linux/capability.h
_NEEDED = sum(1 << each for each in (_CHOWN, _FOWNER, _KILL, _SETGID, _SETUID, _CHROOT))


class Account(NamedTuple):
    """An account and its group, by name, because HAProxy's configuration names both."""

    user: str
    group: str
    uid: int
    gid: int


@lru_cache(maxsize=None)
def account() -> Optional[Account]:
    """Whom it becomes on this host; None where nobody else."""
    if os.geteuid() != 0 or not _may_become_others():
        return None
    for name in _KNOWN:
        try:
            found = pwd.getpwnam(name)
            group = grp.getgrgid(found.pw_gid).gr_name
        except KeyError:
            continue
        if found.pw_uid and found.pw_gid and _is_known("uid", found.pw_uid) and _is_known("gid", found.pw_gid):
            return Account(name, group, found.pw_uid, found.pw_gid)
    return None


def _may_become_others() -> bool:
    """Whether this account has what the kernel asks of who changes to another one."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
        for line in stream:
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16) & _NEEDED == _NEEDED
    return False


def _is_known(kind: str, number: int) -> bool:
    """Whether this user namespace has that number at all."""
    with open(f"/proc/self/{kind}_map", encoding="ascii") as stream:
        for line in stream:
            first, _, count = map(int, line.split())
            if first <= number < first + count:
                return True
    return False
