"""Engines by content: a wheel that holds llama.cpp's server, and the program beside it that serves with it.

    shared/engines/ID/llama-server          starts server.py with a Python of this host
    shared/engines/ID/server.py             llama-server's options, signals and exit statuses
    shared/engines/ID/libxllamacpp.so       out of the wheel
    shared/engines/ID/VERSION

A toolkit names the wheels for every kind of machine, and the host takes its own. Whether that can run here is asked
before it is shipped.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from typing import Any, Callable, Dict, List

from . import files
from .layout import Layout
from .models import verify
from .protocol import FAILED, REFUSED, AgentError, Message

_EXTENSION = "xllamacpp/xllamacpp.abi3.so"
_LARGEST = 1 << 30  # bytes of the extension; a wheel that claims more is none of ours
# What manylinux leaves to the system and a small one may lack: library -> Debian's package.
_LIBRARIES = {"libgomp.so.1": "libgomp1", "libstdc++.so.6": "libstdc++6"}
_SECONDS = 20.0


def present(layout: Layout) -> List[str]:
    """The ids of the engines on the host."""
    try:
        return sorted(name for name in os.listdir(layout.engines) if not name.startswith("."))
    except FileNotFoundError:
        return []


def incoming(layout: Layout, engine: str, wheels: Dict[str, Dict[str, Any]]) -> Message:
    """Where the wheel for this machine arrives, and which one that is.

    Raises:
        AgentError: no wheel runs here.
    """
    machine = os.uname().machine
    if machine not in wheels:
        raise AgentError(
            REFUSED,
            f"the wheel engine is not made for this machine, which is {machine}.",
            why="It is made for {}.".format(", ".join(sorted(wheels))),
            next_step='compile one for it: engine = "build" in deploy.toml, then deploy native build',
        )
    _libraries()
    _python()
    folder = os.path.join(layout.engines, ".incoming-" + engine)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    return {"folder": folder, "machine": machine}


def adopt(layout: Layout, request: Message, emit: Callable[[Message], None]) -> Dict[str, Any]:
    """Verify the wheel that arrived, unpack its extension, and give both their name once the program starts.

    Raises:
        AgentError: it is not what it should be, or does not start here.
    """
    engine, program, wheels = request["engine"], request["program"], request["wheels"]
    final = os.path.join(layout.engines, engine)
    if os.path.isdir(final):
        return {"event": "result", "present": True}
    if _id(program, wheels) != engine:
        raise AgentError(FAILED, f"engine {engine[:12]} is not what its id says.")
    folder = os.path.join(layout.engines, ".incoming-" + engine)
    wheel = wheels[os.uname().machine]
    path = os.path.join(folder, wheel["file"])
    verify(path, wheel["sha256"], "engine", emit)
    _unpack(path, os.path.join(folder, "libxllamacpp.so"))
    files.write(os.path.join(folder, "VERSION"), request["version"] + "\n")
    files.write(os.path.join(folder, "server.py"), program)
    # A path of its own and not the shebang's: that may hold no blank and has a limit.
    start = f'#!/bin/sh\nexec {shlex.quote(_python())} -I "${{0%/*}}/server.py" "$@"\n'
    files.write(os.path.join(folder, "llama-server"), start)
    os.unlink(path)
    for name in os.listdir(folder):
        part = os.path.join(folder, name)
        os.chown(part, os.geteuid(), os.getegid())
        os.chmod(part, 0o555 if name == "llama-server" else 0o444)
    os.chown(folder, os.geteuid(), os.getegid())
    _starts(os.path.join(folder, "llama-server"))
    files.sync_filesystem(folder)
    os.rename(folder, final)
    files.sync_directory(layout.engines)
    return {"event": "result", "present": False}


def _id(program: str, wheels: Dict[str, Dict[str, Any]]) -> str:
    parts = {
        "program": hashlib.sha256(program.encode("utf-8")).hexdigest(),
        "wheels": {machine: wheel["sha256"] for machine, wheel in wheels.items()},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8")).hexdigest()


def _unpack(wheel: str, to: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        if archive.getinfo(_EXTENSION).file_size > _LARGEST:
            raise AgentError(FAILED, f"{_EXTENSION} is larger than any engine.")
        files.discard(to)  # of an attempt that was cut off, and read-only by then
        with archive.open(_EXTENSION) as packed, open(to, "wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)


def _libraries() -> None:
    for library, package in _LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            raise AgentError(
                REFUSED,
                f"the wheel engine needs {library}, which this host does not have.",
                next_step=f"deploy exec -- apt-get install --yes {package} (or what your system calls it)",
            ) from None


def _python() -> str:
    """A Python that loads the wheel. The system's own first: every account may run it, whatever the login has."""
    names = [f"python3.{minor}" for minor in range(14, 9, -1)]
    for path in ["/usr/bin/python3", sys.executable, *filter(None, map(shutil.which, names))]:
        if _is_new_enough(path):
            return path
    raise AgentError(
        REFUSED,
        "the wheel engine needs Python 3.10 or newer, and this host has none.",
        why=f"Looked at /usr/bin/python3, {sys.executable} and PATH.",
        next_step='install one there, or compile: engine = "build" in deploy.toml, then deploy native build',
    )


def _is_new_enough(python: str) -> bool:
    code = "import sys; sys.exit(sys.version_info < (3, 10))"
    try:
        return subprocess.call([python, "-I", "-c", code], stdin=subprocess.DEVNULL, timeout=_SECONDS) == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _starts(program: str) -> None:
    done = subprocess.run(
        [program, "--version"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        said = done.stdout.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise AgentError(REFUSED, "the wheel engine does not start on this host.", why=said[0])
