"""What a program could not write, as its log tells, or has written where the next release will not look.

A release is read-only: by its modes, and under systemd by its mounts. A program that writes beside its code is told so
by the system, and says it in the words of its language, with the path. Root is held by no mode, so what it writes lies
there, and is gone with the release.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import stat
from typing import TYPE_CHECKING, Iterable, Iterator, List, Optional, Sequence

from ..contract import names, tree
from ..contract.failure import Failure
from ..contract.state import State
from ..contract.steps import Do, Step
from .supervisors import Supervisor

if TYPE_CHECKING:
    from ..contract.events import Emit

_REFUSED = re.compile(r"permission denied|read-only file ?system|\bEACCES\b|\bEROFS\b", re.IGNORECASE)
# Python, Node and nginx quote the path; Go and C put it before a colon; a shell after "create".
_PATHS = re.compile(r"""'([^']{1,500})'|"([^"]{1,500})"|([^\s:'"()]{0,500}/[^\s:'"(),]{0,500})""")
_TOLD = 3
_MOST = 100  # files that are looked for
_LOGS, _LINES = 8, 200  # logs that are read, and the last lines of each


def refused(lines: Sequence[str], release: str) -> List[str]:
    """The paths in a release that a program was not let to write to, relative to it.

    Args:
        lines: of its log.
        release: the folder that it runs in.
    """
    found: List[str] = []
    for line in lines:
        if not _REFUSED.search(line) or "exec: " in line:  # what a shell could not become is another matter
            continue
        for groups in _PATHS.findall(line):
            inside = _inside(next(filter(None, groups)), release)
            if inside and inside not in found:
                found.append(inside)
    return found


def _inside(word: str, release: str) -> Optional[str]:
    """`word` as a path in the release, if it is one: what lies there, or would, beside what does."""
    place = os.path.normpath(os.path.join(release, word))
    root = os.path.realpath(release)
    place = os.path.join(os.path.realpath(os.path.dirname(place)), os.path.basename(place))
    if not place.startswith(root + "/") or not os.path.isdir(_nearest(place)):
        return None
    path = place[len(root) + 1 :]
    # A file that can't be read, or is no program, is another matter.
    if os.path.isfile(place) and (os.access(place, os.X_OK) or not os.access(place, os.R_OK)):
        return None
    return path if "/" in word or not os.path.lexists(place) or os.path.isfile(place) else None


def explain(failed: Failure, release: str, service: str) -> str:
    """Say in a failure that its program writes into its release, where its log shows that; what to do about it then."""
    paths = refused(failed.details.get("log", []), release)
    if not paths:
        return ""
    failed.why = f"{failed.why} A release is read-only, and it writes {_listed(paths)} there.".strip()
    return advice(paths, service)


def _nearest(place: str) -> str:
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    return place


def written(release: str) -> Iterator[str]:
    """What somebody made in a sealed release, relative to it; what Python compiled is no matter."""
    for folder, _, others in tree.walk(release):
        if os.path.basename(folder) == "__pycache__":
            continue
        for name in others:
            mode = os.lstat(os.path.join(release, folder, name)).st_mode
            if stat.S_ISREG(mode) and mode & 0o222:  # none of what is sealed has these
                yield os.path.join(folder, name)


def warn(supervisor: Supervisor, steps: Sequence[Step], before: State, after: State, emit: Emit) -> None:
    """Tell of programs that were just proven, and write, or have written, what the next release will not have."""
    if supervisor.in_containers:
        return
    layout = supervisor.layout
    for program in [step.program for step in steps if step.do in (Do.START, Do.RESTART)][:_LOGS]:
        release = after.programs[program].release
        paths = refused(supervisor.log_tail(program, _LINES), layout.release(release))
        if paths:
            _tell(
                emit,
                f"{program} was not let to write {_listed(paths)}: a release is read-only",
                paths,
                after.programs[program].service,
            )
    left = {record.release for record in before.programs.values()} - {each.release for each in after.programs.values()}
    for release in left if os.geteuid() == 0 else ():  # no mode holds root
        with contextlib.suppress(OSError):
            paths = list(itertools.islice(written(layout.release(release)), _MOST))
            if paths:
                what = f"programs wrote {_listed(paths)} into release {release[:12]}, where the new one does not look"
                _tell(emit, f"{what}; it is kept in {layout.release(release)} for now", paths, "NAME")


def _tell(emit: Emit, what: str, paths: Sequence[str], service: str) -> None:
    emit({"event": "warning", "text": f"{what}. So that it outlives releases: {advice(paths, service)}"})


def advice(paths: Iterable[str], service: str) -> str:
    """What to write into deploy.toml, so that they outlive the release."""
    folders: List[str] = []
    for path in paths:
        folder = os.path.dirname(path)
        if folder and not names.below(folder + "/", folders) and folder not in folders:
            folders.append(folder)
    quoted = ", ".join(f'"{folder}"' for folder in folders or ["var"])
    add = f"add to [services.{service}] in deploy.toml: data = [{quoted}]"
    return add if folders else f"let it write into a folder, such as var, and {add}"


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(paths[:_TOLD]) + (f" and {len(paths) - _TOLD} more" if len(paths) > _TOLD else "")
