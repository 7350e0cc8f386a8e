"""Programs that somebody else's configuration starts, taken over on purpose: out of its file, and back.

The file as it was stays beside it, under a name that no supervisord includes, so that putting back is a copy. A file
that somebody has changed meanwhile is neither's to replace.
"""

from __future__ import annotations

import configparser
import glob
import hashlib
import os
import re
from typing import TYPE_CHECKING, Iterator, List, Sequence, Tuple

from ...contract.failure import FAILED, REFUSED, Failure
from .. import files, trust
from .base import LAUNCHERS
from .supervisord_config import Instance

if TYPE_CHECKING:
    from ...contract.records import Taken

_HEAD = re.compile(r"\[([^][]+)\]")


def described(instance: Instance, names: Sequence[str]) -> List[Taken]:
    """Those of `names` that its files describe and no deploy has put there.

    Raises:
        Failure: one can't be taken out of where it is.
    """
    texts = {path: text for path, text in _texts(instance) if LAUNCHERS not in text} if names else {}
    found: List[Taken] = []
    for name in names:
        for path, text in texts.items():
            sections = [head.strip() for head in _HEAD.findall(_lines_that_begin(text))]
            if f"program:{name}" not in sections:
                continue
            _demand_ours_to_change(path, text, name)
            less = _without(text, name, path)
            found.append({"name": name, "path": path, "before": _digest(text), "after": _digest(less)})
            texts[path] = less
            break
    return found


def _texts(instance: Instance) -> Iterator[Tuple[str, str]]:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", " #"), strict=False)
    try:
        parser.read(instance.config, encoding="utf-8")
    except configparser.Error:
        return
    here = os.path.dirname(os.path.abspath(instance.config))
    patterns = parser.get("include", "files", fallback="").replace("%(here)s", here).split()
    included = [path for pattern in patterns for path in sorted(glob.glob(os.path.join(here, pattern)))]
    for path in [instance.config, *included]:
        try:
            yield path, _read(path)
        except (OSError, ValueError):
            continue


def _lines_that_begin(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("["))


def _demand_ours_to_change(path: str, text: str, name: str) -> None:
    wrong = trust.fault(path)
    if wrong:
        raise Failure(REFUSED, f"{path}, which describes {name}, can't be changed: {wrong}.", next_step=wrong.remedy)
    for line in text.splitlines():
        group, _, members = line.partition("=")
        if group.strip() == "programs" and name in [member.strip() for member in members.split(",")]:
            raise Failure(
                REFUSED,
                f"{name} is a member of a group in {path}, which can't do without it.",
                next_step="take it out of [group:…] there, then: deploy up",
            )


def _without(text: str, name: str, path: str) -> str:
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        head = _HEAD.match(line)
        if head:
            inside = head[1].strip() == f"program:{name}"
            if inside:
                kept.append(f"; {name} was taken over by a deploy; it is in {os.path.basename(_aside(path, name))}\n")
        if not inside:
            kept.append(line)
    return "".join(kept)


def take(taken: Taken) -> None:
    """Take the program out of its file. May be repeated."""
    path, name = taken["path"], taken["name"]
    text = _read(path)
    if _digest(text) == taken["after"]:
        return
    if _digest(text) != taken["before"]:
        raise Failure(FAILED, f"{path} was changed while {name} was being taken over.", next_step="deploy up again")
    mode = os.stat(path).st_mode & 0o7777
    files.write(_aside(path, name), text, mode)
    files.write(path, _without(text, name, path), mode)


def give_back(taken: Taken) -> None:
    """Let its file be as it was. May be repeated.

    Raises:
        Failure: somebody has changed it since.
    """
    path, name = taken["path"], taken["name"]
    if _digest(_read(path)) == taken["after"]:
        was = _read(_aside(path, name))
        if _digest(was) != taken["before"]:
            raise Failure(FAILED, f"{_aside(path, name)} is not what {path} was.")
        files.write(path, was, os.stat(path).st_mode & 0o7777)
    elif _digest(_read(path)) != taken["before"]:
        raise Failure(
            FAILED,
            f"{path} was changed since {name} was taken over, so {name} is not put back.",
            next_step=f"copy [program:{name}] from {_aside(path, name)}, then: supervisorctl update",
        )
    files.remove(_aside(path, name))


def _aside(path: str, name: str) -> str:
    folder, file = os.path.split(path)
    return os.path.join(folder, f".{file}.before-{name}")  # with a dot: an include of all files means none of these


def _read(path: str) -> str:
    with open(path, encoding="utf-8", newline="") as stream:
        return stream.read()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
