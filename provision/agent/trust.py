"""Whether only this account and root could change what lies at a path, and whether an agent is what its name says.

As sshd asks before it believes a file of keys (sshd_config(5), StrictModes): each folder from `/` down belongs to this
account or to root, and neither its group nor others may write to it. Besides, as Debian has it, a group may that is
this account alone; and a folder like /tmp, which everybody may add to and nobody may take from (sticky), will do
where what lies next below is there already and is ours.

Stands alone, for Python 3.8: it is a part of each program that runs an agent by its path (`alone`).
"""

from __future__ import annotations

import functools
import importlib.machinery
import os
import stat
import sys
from typing import Any, Iterator, NamedTuple, Optional

_LINKS = 40  # as the kernel follows in one path
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


class Fault(NamedTuple):
    """The first thing that stands in the way of believing a path."""

    path: str
    why: str  # with its owner and mode; the sentence goes on from the path
    remedy: str  # a command, as whoever may do it would type it

    def __str__(self) -> str:
        return f"{self.path} {self.why}"


def fault(path: str) -> Optional[Fault]:
    """What somebody else could change of the absolute `path` or of a folder above it, links followed; None: nothing.

    What is not there yet is judged by the folder in which it would be made.
    """
    here, left, links = "/", path.split("/"), 0
    wrong = own("/")
    while left and not wrong:
        name = left.pop(0)
        if name in ("", "."):
            continue
        if name == "..":
            here = os.path.dirname(here)
            continue
        there = os.path.join(here, name)
        try:
            found = os.lstat(there)
        except FileNotFoundError:
            break
        except NotADirectoryError:
            return Fault(here, "is no folder", "")
        except OSError as error:
            if not os.access(here, os.X_OK):
                return shut(here, account(os.geteuid()))
            return Fault(there, f"cannot be looked at: {error.strerror}", "")
        wrong = own(there, found)
        if stat.S_ISLNK(found.st_mode) and not wrong:
            links += 1
            if links > _LINKS:
                return Fault(there, "is a link that leads nowhere", "")
            target = os.readlink(there)
            left[:0] = target.split("/")
            here = "/" if target.startswith("/") else here
        else:
            here = there
    return wrong or _shared(here)


def own(path: str, found: Optional[os.stat_result] = None) -> Optional[Fault]:
    """What is wrong with one file, folder or link by itself, in a folder that nobody else can change."""
    found = os.lstat(path) if found is None else found
    mode = stat.S_IMODE(found.st_mode)
    me = os.geteuid()
    if found.st_uid not in (0, me):
        why = f"belongs to {account(found.st_uid)} (mode {mode:04o}), not to {account(me)}"
        return Fault(path, why if me == 0 else why + " or root", f"chown -h {account(me)} {path}")
    if stat.S_ISLNK(found.st_mode) or not mode & _WRITABLE or _is_private(path, found):
        return None
    if stat.S_ISDIR(found.st_mode) and mode & stat.S_ISVTX:
        return None
    return _writable(path, found)


def digest(folder: str) -> str:
    """What the agent in `folder` is called: sha256 over the names and bytes of its modules.

    Empty where that folder holds anything besides, or what others can change: what is beside a module may be
    imported in its place. Compiled modules are left out, because who runs an agent has them elsewhere.
    """
    import hashlib  # OpenSSL's, which who is at home with traffic does without

    total = hashlib.sha256()
    try:
        if os.listdir(folder) != ["deploy_agent"]:
            return ""
        top = os.path.join(folder, "deploy_agent")
        for name in sorted(_modules(top, ""), key=lambda name: name.split("/")):
            opened = os.open(os.path.join(top, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(opened, "rb") as stream:
                content = stream.read()
            total.update(b"%d %s %d " % (len(name), name.encode(), len(content)) + content)
    except (OSError, ValueError):
        return ""
    return total.hexdigest()


def _modules(top: str, folder: str) -> Iterator[str]:
    place = os.path.join(top, folder)
    if os.path.islink(place) or own(place):
        raise ValueError(place)
    for entry in os.scandir(place):
        found = entry.stat(follow_symlinks=False)
        name = folder + entry.name
        if stat.S_ISDIR(found.st_mode):
            if entry.name != "__pycache__":
                yield from _modules(top, name + "/")
        elif stat.S_ISREG(found.st_mode) and name.endswith(".py") and not own(entry.path, found):
            yield name
        else:
            raise ValueError(name)


def _shared(folder: str) -> Optional[Fault]:
    """What is wrong with making something in `folder`."""
    found = os.lstat(folder)
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISDIR(found.st_mode) and mode & _WRITABLE and not _is_private(folder, found):
        return _writable(folder, found)
    return None


def _writable(path: str, found: os.stat_result) -> Fault:
    mode = stat.S_IMODE(found.st_mode)
    whom = "everybody" if mode & stat.S_IWOTH else f"its group {_group(found.st_gid)}"
    why = f"may be written to by {whom} (owner {account(found.st_uid)}, mode {mode:04o})"
    return Fault(path, why, f"chmod go-w {path}" if not mode & stat.S_ISVTX else "")


def shut(folder: str, who: str) -> Fault:
    """That `folder` keeps an account from what lies below it."""
    found = os.stat(folder)
    if not stat.S_ISDIR(found.st_mode):
        return Fault(folder, "is no folder", "")
    mode = stat.S_IMODE(found.st_mode)
    why = f"lets {who} not through (owner {account(found.st_uid)}, mode {mode:04o})"
    return Fault(folder, why, f"chmod o+x {folder}")


def _is_private(path: str, found: os.stat_result) -> bool:
    """Whether the group that may write is this account alone, as many systems make one for each, or root alone."""
    if found.st_mode & stat.S_IWOTH or not _is_alone(found.st_gid, os.geteuid()):
        return False
    return not has_acl(path)  # then the bits mean more than the group


def has_acl(path: str) -> bool:
    """Whether more is said of who may do what with `path` than its mode says."""
    try:
        os.getxattr(path, "system.posix_acl_access", follow_symlinks=False)
    except OSError:
        return False
    return True


@functools.lru_cache(maxsize=None)
def _is_alone(gid: int, me: int) -> bool:
    """Whether nobody but `me` and root is in a group: the one that `me` has at login, or root's."""
    import grp
    import pwd

    try:
        mine = pwd.getpwuid(me)
        members = set(grp.getgrgid(gid).gr_mem)
    except KeyError:
        return False
    if gid not in (0, mine.pw_gid):
        return False  # empty ones are for programs that are started with them
    return members <= {mine.pw_name, account(0)} and not any(
        other.pw_gid == gid and other.pw_uid not in (0, me) for other in pwd.getpwall()
    )


def account(uid: int) -> str:
    """What an account is called."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"gid {gid}"


def state_folder() -> str:
    """What all projects of this account on this host share."""
    given = os.environ.get("DEPLOY_STATE_DIR")
    if given:
        return given
    if os.geteuid() == 0:
        return "/var/lib/deploy"
    home = os.path.expanduser("~")
    folder = os.path.join(home, ".local", "state", "deploy")
    if os.path.isdir(folder) or os.access(home, os.W_OK):
        return folder
    return f"/var/tmp/deploy-{os.geteuid()}"  # noqa: S108  # no home to speak of; whose it is is looked at


def compiled() -> str:
    """Where Python may keep agents that it compiled, which it believes whatever their source is; a device: nowhere.

    Beside their source it would believe what lay there before the folder was ours alone.
    """
    folder = os.path.join(state_folder(), "pycache")
    return os.devnull if fault(folder) else folder


def refusal(folder: str) -> str:
    """Why the agent in `folder`, which is called by its digest, is not run; empty where it may be."""
    wrong = fault(folder)
    if wrong:
        return f"{wrong}; nothing below is run"
    return "" if digest(folder) == os.path.basename(folder) else f"{folder} is not the agent that it is called"


def enter(folder: str, keep: bool = True) -> None:
    """Let this process import the agent in `folder` from its sources alone; `keep` it compiled for the next time."""
    cache = compiled() if keep else os.devnull

    class Loader(importlib.machinery.SourceFileLoader):
        def get_code(self, fullname: str) -> Any:
            before = sys.pycache_prefix, sys.dont_write_bytecode
            sys.pycache_prefix, sys.dont_write_bytecode = cache, cache == os.devnull
            try:
                return super().get_code(fullname)
            finally:
                sys.pycache_prefix, sys.dont_write_bytecode = before

    def find(path: str) -> importlib.machinery.FileFinder:
        if path != folder and not path.startswith(folder + "/"):
            raise ImportError(path)
        return importlib.machinery.FileFinder(path, (Loader, [".py"]))

    sys.path_hooks.insert(0, find)
    sys.path.insert(0, folder)
