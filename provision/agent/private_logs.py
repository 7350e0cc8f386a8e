"""Logs that are files, for the accounts of the project's services and our own alone.

supervisord makes them, also when one is full, with the rights that its umask leaves, which is the host's own affair. A
default ACL of their folder counts in place of any umask (acl(5), "Object creation and default ACLs"). The folder itself
can be passed through: services may have places of their own in it.
"""

from __future__ import annotations

import contextlib
import os
import struct
from typing import Iterable, Set

from . import files

# xattr(7), as the kernel has it (include/uapi/linux/posix_acl_xattr.h): a version, then tag, rights and id of each.
_HEAD, _ENTRY, _VERSION, _NOBODY = struct.Struct("<I"), struct.Struct("<HHI"), 2, 0xFFFFFFFF
_OWNER, _ACCOUNT, _GROUP, _MASK, _OTHERS = 0x01, 0x02, 0x04, 0x10, 0x20
_READ, _WRITE, _PASS = 4, 2, 1


def keep(folder: str, readers: Iterable[int]) -> None:
    """Have what is in `folder`, and what will be made in it, be read by these accounts and ours alone.

    Args:
        readers: uids. Where the file system has no ACLs, none of them: then nobody else passes into the folder.
    """
    others = {*readers} - {0, os.geteuid()}
    try:
        os.setxattr(folder, "system.posix_acl_default", _acl(_READ | _WRITE | _PASS, others, _READ | _PASS))
    except OSError:
        os.chmod(folder, 0o700)
        return
    rights = _acl(_READ | _WRITE, others, _READ)
    for entry in os.scandir(folder):
        if ".log" in entry.name and entry.is_file(follow_symlinks=False):
            with contextlib.suppress(OSError), files.open_plain(entry.path) as stream:  # else it is not of ours
                os.setxattr(stream.fileno(), "system.posix_acl_access", rights)


def _acl(owners: int, accounts: Set[int], theirs: int) -> bytes:
    entries = [(_OWNER, owners, _NOBODY), *((_ACCOUNT, theirs, uid) for uid in sorted(accounts))]
    entries += [(_GROUP, 0, _NOBODY), *([(_MASK, theirs, _NOBODY)] if accounts else []), (_OTHERS, 0, _NOBODY)]
    return _HEAD.pack(_VERSION) + b"".join(_ENTRY.pack(*entry) for entry in entries)
