"""The prepare step: a command of the project's, run in an incoming release before that has its name.

What it makes lies in `shared/prepared/DIGEST` and is linked from the release, so that equal inputs share it.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Callable, Dict

from ..contract import names
from ..contract.failure import REFUSED, Failure
from ..contract.layout import Layout
from . import files
from .content import PREPARED
from .locks import Lock
from .told import Doing, run

if TYPE_CHECKING:
    from ..contract.events import Emit
    from ..contract.release import PrepareDocument

_LOCK_SECONDS = 15.0  # an earlier step that was cut off ends within it
_BLOCK = 1 << 20


def prepare(
    layout: Layout,
    folder: str,
    step: PrepareDocument,
    secrets: Dict[str, str],
    environment: Dict[str, str],
    emit: Emit,
    stop: Callable[[], None],
) -> str:
    """Run the step, or take what it made for the same inputs; the name of its result.

    Args:
        environment: the variables that find the release's Python environment.
        stop: called now and then; raises where the step is to be ended.

    Raises:
        Failure: it failed, or may not be run.
    """
    names.outputs(step["outputs"])
    key = _key(folder, step)
    # Its processes hold the lock as well, so that none of an earlier step can write into what this one makes.
    lock = Lock(os.path.join(layout.private, "prepare"))
    if not lock.take({"doing": "prepare"}, _LOCK_SECONDS):
        raise Failure(REFUSED, "an earlier prepare step is still being ended.", next_step="deploy up again")
    try:
        result = os.path.join(layout.prepared, key)
        ready = os.path.exists(os.path.join(result, PREPARED))
        if not ready:
            files.remove_tree(result)
            files.make_folder(result)
        for name in step["outputs"]:
            _link(folder, result, name)
        if ready and step["outputs"]:
            emit({"event": "step", "step": "prepare", "program": "", "detail": "as before"})
            return key
        env = {**os.environ, **environment, **step.get("env", {}), **secrets}
        doing = Doing("prepare", "the prepare step", step["timeout"])
        run(doing, step["command"], folder, env, secrets, emit, stop, lock)
        files.sync_filesystem(result)  # the name says that all of it is there, also after a power cut
        files.write(os.path.join(result, PREPARED), "")
        return key
    finally:
        lock.release()


def _key(folder: str, step: PrepareDocument) -> str:
    key = hashlib.sha256(json.dumps(step, sort_keys=True).encode("utf-8"))
    for name in step["inputs"]:
        path = os.path.realpath(names.path_below(folder, "input", name))
        if not path.startswith(os.path.realpath(folder) + "/") or not os.path.isfile(path):
            raise Failure(REFUSED, f"input {name!r} is no file of the release.")
        digest = hashlib.sha256()
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(_BLOCK), b""):
                digest.update(block)
        key.update(digest.digest())
    return key.hexdigest()


def _link(folder: str, result: str, name: str) -> None:
    link = names.path_below(folder, "output", name)
    if os.path.lexists(link) and not os.path.islink(link):
        raise Failure(
            REFUSED,
            f"output {name!r} is among the files that are shipped.",
            next_step="leave it out of the project, or out of prepare.outputs",
        )
    files.make_folder(os.path.join(result, name))
    files.make_folder(os.path.dirname(link))
    files.point(link, os.path.relpath(os.path.join(result, name), os.path.dirname(link)))
