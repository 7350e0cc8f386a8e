"""From an upload to a release: verified, prepared, on disk, read-only, and only then named.

A name in `releases/` is a promise that everything under it is there and is what the id says.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import threading
from typing import Any, Callable, Dict, List, Optional

from . import files, tree
from .layout import Layout
from .protocol import FAILED, REFUSED, AgentError, Message
from .takeover import give_back, take_over

_COMPLETE = ".complete"


class Mismatch(Exception):
    """What arrived is not what was sent; `entries` tell what is there (path -> digest)."""

    def __init__(self, entries: Dict[str, str]) -> None:
        super().__init__("the upload differs from the release")
        self.entries = entries


def seal(
    layout: Layout,
    nonce: str,
    release: str,
    document: Dict[str, Any],
    remove: List[str],
    secrets: Dict[str, str],
    emit: Callable[[Message], None],
) -> None:
    """Turn `.incoming-NONCE` into `releases/RELEASE`.

    Args:
        remove: paths left over from an earlier upload that was resumed.
        secrets: what the prepare step is given besides; kept nowhere.

    Raises:
        Mismatch: the tree's digest is another one.
        AgentError: the prepare step failed, or a model is missing.
    """
    if os.path.isdir(layout.release(release)):
        files.remove_tree(layout.incoming(nonce))
        return
    folder = layout.incoming(nonce)
    os.makedirs(folder, exist_ok=True)
    shipper = take_over(folder)
    for path in remove:
        _remove_inside(folder, path)
    for path, target in document["links"].items():
        link = _inside(folder, path)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        files.point(link, target)
    for path, model in document["models"].items():
        if not os.path.isdir(os.path.join(layout.models, "sha256-" + model["sha256"])):
            raise AgentError(
                FAILED, f"model {path} is not on this host.", next_step="deploy up again: it is shipped once"
            )
    for engine, facts in document.get("engines", {}).items():
        if not os.path.isdir(os.path.join(layout.engines, engine)):
            raise AgentError(
                FAILED,
                f"the engine {facts['package']} {facts['version']} is not on this host.",
                next_step="deploy up again: it is shipped once",
            )
    shutil.rmtree(os.path.join(folder, ".rsync-partial"), ignore_errors=True)
    digest, entries = tree.digest(folder)
    if tree.release_id(canonical(document), digest) != release:
        give_back(folder, shipper)
        raise Mismatch({entry.path: entry.sha256 or entry.target for entry in entries})
    if document.get("prepare"):
        document = dict(document, prepared=_prepare(layout, folder, document["prepare"], secrets, emit))
    files.write_json(os.path.join(folder, "release.json"), document)
    _make_read_only(folder)
    files.sync_filesystem(folder)
    os.rename(folder, layout.release(release))
    files.sync_directory(layout.releases)


def canonical(document: Dict[str, Any]) -> bytes:
    """The bytes of a document that its release's id is made of."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def _inside(folder: str, path: str) -> str:
    """Where `path` is in `folder`, which is ours.

    Raises:
        AgentError: it is not, or a link in there leads out of it.
    """
    full = os.path.normpath(os.path.join(folder, path))
    if not (os.path.realpath(os.path.dirname(full)) + "/").startswith(os.path.realpath(folder) + "/"):
        raise AgentError(REFUSED, f"{path!r} is not inside the release.")
    return full


def _remove_inside(folder: str, path: str) -> None:
    full = _inside(folder, path)
    if os.path.isdir(full) and not os.path.islink(full):
        shutil.rmtree(full)
    elif os.path.lexists(full):
        os.unlink(full)


def _make_read_only(folder: str) -> None:
    for parent, folders, names in os.walk(folder, topdown=False):
        for name in names:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                executable = os.stat(path).st_mode & 0o100
                os.chmod(path, 0o555 if executable else 0o444)
        for name in folders:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                os.chmod(path, 0o555)
    # rename(2) of a folder needs to write its `..`, so the folder itself stays writable for its owner.
    os.chmod(folder, 0o755)


def _prepare(
    layout: Layout, folder: str, prepare: Dict[str, Any], secrets: Dict[str, str], emit: Callable[[Message], None]
) -> str:
    """Run the prepare step, or take what it made for the same inputs; the name of its result.

    What it makes lies in `shared/prepared/DIGEST` and is linked from the release, so that equal inputs share it.
    """
    key = hashlib.sha256(json.dumps(prepare, sort_keys=True).encode("utf-8"))
    for name in prepare["inputs"]:
        with open(os.path.join(folder, name), "rb") as stream:
            key.update(hashlib.sha256(stream.read()).digest())
    result = os.path.join(layout.prepared, key.hexdigest())
    ready = os.path.exists(os.path.join(result, _COMPLETE))
    if not ready:
        files.remove_tree(result)
        os.makedirs(result)
    for name in prepare["outputs"]:
        os.makedirs(os.path.join(result, name), exist_ok=True)
        link = os.path.join(folder, name)
        os.makedirs(os.path.dirname(link), exist_ok=True)
        files.point(link, os.path.relpath(os.path.join(result, name), os.path.dirname(link)))
    if ready and prepare["outputs"]:
        emit({"event": "step", "step": "prepare", "program": "", "detail": "as before"})
        return key.hexdigest()
    _run_prepare(folder, prepare, secrets, emit)
    files.sync_filesystem(result)  # the name says that all of it is there, also after a power cut
    files.write(os.path.join(result, _COMPLETE), "")
    return key.hexdigest()


def _run_prepare(
    folder: str, prepare: Dict[str, Any], secrets: Dict[str, str], emit: Callable[[Message], None]
) -> None:
    emit({"event": "step", "step": "prepare", "program": "", "detail": " ".join(prepare["command"])})
    try:
        process = subprocess.Popen(
            prepare["command"],
            cwd=folder,
            env={**os.environ, **prepare.get("env", {}), **secrets},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise AgentError(FAILED, f"the prepare step can't start: {error}") from None
    timer = threading.Timer(prepare["timeout"], process.kill)
    timer.start()
    last: List[str] = []
    output: Optional[Any] = process.stdout
    for line in output or ():
        text = line.decode("utf-8", "replace").rstrip()
        for name, value in secrets.items():  # a program that shows its environment when it fails
            text = text.replace(value, "<" + name + ">")
        last = [*last, text][-12:]
        emit({"event": "output", "source": "prepare", "text": text})
    status = process.wait()
    timer.cancel()
    if status != 0:
        raise AgentError(FAILED, f"the prepare step ended with status {status}.", log=last)
