"""Programs that somebody else's configuration starts, taken over on purpose: out of its file, and back.

The file as it was stays beside it, under a name that no supervisord includes, so that putting back is a copy. A file
that somebody has changed meanwhile is neither's to replace.
"""

from __future__ import annotations

import configparser
import contextlib
import glob
import hashlib
import os
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Sequence, Set, Tuple

from ...contract.failure import FAILED, REFUSED, Failure
from .. import files, processes, trust
from .base import LAUNCHERS
from .supervisord_config import Instance
from .supervisord_rpc import ALREADY_ADDED, BAD_NAME, Fault, Rpc

if TYPE_CHECKING:
    from ...contract.records import Taken

_STOP_SECONDS = 10.0  # what is taken over has been told to stop, and waited for, by then
_HEAD = re.compile(r"\[([^][]+)\]")


class Theirs:
    """Those programs, at one supervisord."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._instance = rpc.instance

    def those(self, names: Sequence[str]) -> List[Taken]:
        """Those of `names` that its files describe and no deploy has put there; whether they run.

        Raises:
            Failure: one can't be taken out of where it is.
        """
        found = _described(self._instance, names)
        members = {each["name"]: self.members([each]) for each in found}
        return [{**each, "ran": bool(members[each["name"]])} for each in found]

    def members(self, taken: Sequence[Taken]) -> Set[int]:
        """Their processes."""
        names = {each["name"] for each in taken}
        told = self._everything() if names else []
        roots = [info["pid"] for info in told if info["group"] in names and info["pid"]]
        return processes.family(roots) if roots else set()

    def having(self, pids: Set[int]) -> str:
        """Which of them some of these processes are of; or empty."""
        for info in self._everything():
            if info["pid"] and processes.family([info["pid"]]) & pids:
                return str(info["group"]) if _described(self._instance, [info["group"]]) else ""
        return ""

    def _everything(self) -> List[Dict[str, Any]]:
        try:
            told: List[Dict[str, Any]] = self._rpc.ask("getAllProcessInfo")
            return told
        except (Failure, Fault):
            return []

    def take(self, taken: Sequence[Taken]) -> None:
        """Stop these, for good. May be repeated."""
        for each in taken:
            _take(each)
            members = {pid: processes.start_time(pid) for pid in self.members([each])}
            with contextlib.suppress(Fault):  # it is not known, or does not run
                self._rpc.ask("stopProcessGroup", each["name"])
            if processes.end(partial(_living, members), _STOP_SECONDS):
                raise Failure(FAILED, f"{each['name']}, which is taken over, did not stop.")
        self._rpc.reread()
        self._rpc.settle("removeProcessGroup", [each["name"] for each in taken], BAD_NAME, "let go of")

    def give_back(self, taken: Sequence[Taken]) -> None:
        """Let their files be as they were; nothing is started. May be repeated."""
        for each in reversed(taken):  # two may be of one file
            _give_back(each)

    def start_again(self, taken: Sequence[Taken]) -> None:
        """Start those that ran."""
        added, _ = self._rpc.reread()
        self._rpc.settle(
            "addProcessGroup", [each["name"] for each in taken if each["name"] in added], ALREADY_ADDED, "take"
        )
        for each in taken:
            if each.get("ran") and not self.members([each]):
                try:
                    self._rpc.ask("startProcessGroup", each["name"], True)
                except Fault as fault:
                    raise Failure(FAILED, f"{each['name']} of {each['path']} does not run again: {fault}") from None


def _living(began: Dict[int, int]) -> Set[int]:
    return {pid for pid, start in began.items() if processes.lives(pid, start)}


def _described(instance: Instance, names: Sequence[str]) -> List[Taken]:
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


def _take(taken: Taken) -> None:
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


def _give_back(taken: Taken) -> None:
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
