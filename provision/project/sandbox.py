"""`~/` in a target's path: the home of the project's own sandbox, a folder that is known before that runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from provision.project.fault import Fault
from provision.project.units import PLACE

if TYPE_CHECKING:
    from provision.project.target import Target

SANDBOX = "sandbox"  # among the hosts of a target
LOCAL = Path(".deploy")  # in the project's folder: what is about this machine alone
FOLDER = LOCAL / "sandbox"


def is_here(target: Target) -> bool:
    """Whether its only host is the throwaway one on this machine."""
    return [host.parts for host in target.hosts] == [(SANDBOX,)]


def at_home(targets: Mapping[str, Target], root: Path) -> dict[str, Target]:
    """`targets` with each `~/` replaced by the home of the sandbox of the project in `root`."""
    return {name: target.model_copy(update={"path": _path(target, root)}) for name, target in targets.items()}


def faults(targets: Mapping[str, Target], root: Path) -> Iterator[Fault]:
    """Where a `~/` stands that means nothing, or nothing that a path may be; files in the way of one here, too."""
    for name, target in targets.items():
        at, here = ("targets", name, "path"), is_here(target)
        if here and (file := _file(Path(_path(target, root)))):
            yield Fault(at, f"{file} is a file, and a project has a folder.", "Choose another, or move the file.")
        if not target.path.startswith("~"):
            continue
        if not here:
            yield Fault(at, "~/ is the home of a sandbox, and these hosts are none.", 'Such as path = "/srv/shop".')
        elif not re.fullmatch(PLACE, path := _path(target, root)):
            hint = "Name a folder of your own by an absolute path of letters, digits and . _ / @ + -."
            yield Fault(at, f"~/ stands for {path}, and no path may have all of its characters.", hint)


def _file(path: Path) -> Path | None:
    """What on the way to `path` is there and no folder."""
    return next((each for each in (path, *path.parents) if each.exists() and not each.is_dir()), None)


def _path(target: Target, root: Path) -> str:
    return f"{root / FOLDER / 'home'}{target.path[1:]}" if target.path.startswith("~") else target.path
