"""Make a project's folder one that can be trusted again, believing nothing in it that cannot be shown to be ours.

What is ours, and others might write to, they no longer may. What is another's is set aside: moved away whole, never
followed, read or removed, so that whoever it belongs to finds it. What names its own content is compared with it. The
rest is `deploy up`'s: what is missing is shipped, and what was ended is started. Where nothing is to be distrusted, the
front is looked at that projects of this account share.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Iterator, List, Optional

from ..contract.failure import REFUSED, Failure
from ..contract.layout import Layout
from . import files, guard, outside, sharing, trust
from . import state as states
from .accounted import is_whole, not_what_they_say
from .folders import host_folder
from .locks import Lock
from .mending import Mending, demand_movable, is_ours, mark, way
from .supervisors import Supervisor

if TYPE_CHECKING:
    from ..contract.answers import Mended
    from ..contract.events import Emit


def mend(layout: Layout, supervisor: Supervisor, fault: Optional[trust.Fault], emit: Emit) -> Mended:
    """Mend the folders of the project and of the host; what was done.

    Raises:
        Failure: a folder above is not ours alone, or the project's or the host's own is another's, which only its
            owner or root can change: nothing was. Or a transaction runs, or something can't be moved.
    """
    mending = Mending(layout, emit)
    if fault is None:
        return {**_told(mending, []), "front": sharing.mend(layout)}
    open_ = [path for folder in (layout.root, host_folder()) for path in way(layout, folder)]
    mark(layout)
    for path in dict.fromkeys(open_):
        mending.close(path)
    _judge(mending, layout.private)
    locked = Lock(layout.lock)
    if mending.stays(layout.private):
        if not os.path.isdir(layout.private):
            files.make_folder(layout.private, 0o711)
        mark(layout)  # again: until now others may have removed it
        _judge(mending, os.path.join(layout.private, "locks"))
        if mending.stays(os.path.join(layout.private, "locks")):
            _take(locked)
    try:
        ended = _mend(mending, supervisor)
    finally:
        locked.release()
    return _told(mending, ended)


def _told(mending: Mending, ended: List[str]) -> Mended:
    return {
        "event": "result",
        "closed": mending.closed,
        "aside": mending.aside,
        "ended": ended,
        "front": [],
        "trusted": True,
    }


def _mend(mending: Mending, supervisor: Supervisor) -> List[str]:
    """Judge all, end what runs where it can't stay, and only then move anything."""
    layout = mending.layout
    for path in guard.believed(layout, mending.stays):
        if mending.stays(path):
            _judge(mending, path)
    mending.doomed += _planted_logs(mending)
    mending.doomed += not_what_they_say(mending)
    for path in mending.doomed:
        demand_movable(path)
    whole = is_whole(mending, supervisor)
    ended: List[str] = []
    if not whole:
        # What is left of the state cannot be kept: it names what is not there, or is not ours.
        ended = outside.end_all(supervisor, mending.emit)
        rest = (layout.state, layout.journal, layout.run, layout.channel("stable"), layout.channel("canary"))
        mending.doomed += [path for path in rest if mending.stays(path) and os.path.lexists(path)]
    # The project's own notes last: while they are another's nothing here is believed.
    for path in sorted(mending.doomed, key=layout.private.__eq__):
        mending.set_aside(path)
    if whole:
        for name, release in states.read_state(layout).channels.items():
            files.point(layout.channel(name), os.path.join("releases", release))
    left = trust.fault(layout.private) or trust.fault(host_folder()) or guard.below(layout)
    if left is not None:
        raise guard.refusal(layout.root, left)
    files.remove(layout.mending)
    return ended


def _take(lock: Lock) -> None:
    """Keep transactions, and other mendings, out."""
    if not lock.take({"who": "deploy host mend", "doing": "mending"}):
        holder = lock.holder() or {}
        pid = holder.get("pid", "?")
        raise Failure(
            REFUSED,
            "a transaction of this project is running, and its folder can't be mended meanwhile.",
            why=f"{holder.get('who', 'somebody')} holds the lock (pid {pid}, {holder.get('doing', 'deploying')}).",
            next_step=f"wait for it, or end it there (kill {pid}); then deploy host mend",
        )


def _judge(mending: Mending, path: str) -> None:
    """Close one thing that is believed, or have it set aside; what services keep their data in stays where it is."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        if trust.own(path, found) or trust.fault(path):
            mending.doomed.append(path)
    elif trust.own(path, found) is not None:
        # A file that others could write to says what they like; a folder's parts are looked at one by one.
        stays = path in (mending.layout.shared, mending.layout.logs)
        if (is_ours(path) or stays) and stat.S_ISDIR(found.st_mode):
            mending.close(path)
        else:
            mending.doomed.append(path)


def _planted_logs(mending: Mending) -> Iterator[str]:
    """What a supervisor would write to in place of a log: links, and what is no file."""
    folder = mending.layout.logs
    if mending.stays(folder) and os.path.isdir(folder):
        for entry in os.scandir(folder):
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                continue
            if not stat.S_ISDIR(found.st_mode) and found.st_uid not in (0, os.geteuid()):
                yield entry.path
