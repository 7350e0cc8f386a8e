"""With which module a service begins, as its command says: what has to be there before it is started."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from provision.contract.release import EntryDocument

_PYTHON = re.compile(r"python(3(\.\d+)?)?$")
_WITH_VALUE = ("-W", "-X", "--check-hash-based-pycs")
_APP = re.compile(r"([A-Za-z_]\w*(?:\.\w+)*):[A-Za-z_][\w.]*(?:\(.*\))?$")
_SERVERS = ("uvicorn", "gunicorn", "hypercorn", "granian", "daphne", "waitress-serve")
_ELSEWHERE = ("--app-dir", "--chdir", "--pythonpath", "--working-dir")


def entry(words: Sequence[str]) -> EntryDocument | None:
    """What `words` begin with; None where that is no Python, as far as they tell.

    Args:
        words: the command, with nothing in place of what is known on the host alone.
    """
    program = posixpath.basename(words[0])
    if not _PYTHON.match(program):
        return _program(words) if "/" not in words[0] else None
    rest = list(words[1:])
    while rest and rest[0].startswith("-") and rest[0] not in ("-m", "-c", "-"):
        rest = rest[2 if rest[0] in _WITH_VALUE else 1 :]
    if rest[:1] == ["-m"] and rest[1:]:
        found = _program(rest[1:]) if rest[1] in _SERVERS else None
        if found and found["kind"] == "module":
            return {"kind": "module", "name": found["name"], "python": words[0]}
        return {"kind": "run", "name": rest[1], "python": words[0]}
    if rest and rest[0].endswith(".py"):
        return {"kind": "script", "name": rest[0], "python": words[0]}
    return None


def _program(words: Sequence[str]) -> EntryDocument | None:
    """Of a program that is not Python itself: the application it serves, else the module that its script calls."""
    if words[0] in _SERVERS and not any(word.split("=")[0] in _ELSEWHERE for word in words):
        for word in words[1:]:
            if app := _APP.match(word):
                return {"kind": "module", "name": app[1], "python": ""}
    return {"kind": "command", "name": words[0], "python": ""} if words[0] else None
