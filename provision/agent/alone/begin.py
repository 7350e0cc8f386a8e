"""Begins a conversation, whatever the host or project.

The first line of its input is the header. Where the host has the agent of that digest, whole and in folders that
nobody else can write to (`trust`), it runs at once; else this asks for it, checks what it gets, and unpacks it: under
the project's folder, synced before it has its name; or in a temporary one, where the host must stay as it is or that
folder can't be trusted. Values come over the input, never as arguments: others on the host could read them there.
"""

from __future__ import annotations

# The agent will need these: they are imported while the header is on its way.
import atexit
import configparser  # noqa: F401
import hashlib  # noqa: F401
import hmac  # noqa: F401
import json
import os
import platform  # noqa: F401
import secrets  # noqa: F401
import shutil
import stat
import subprocess  # noqa: F401
import sys
import xmlrpc.client  # noqa: F401
from typing import TYPE_CHECKING, List, Optional, Tuple

from ..trust import digest, enter, fault, own, state_folder

if TYPE_CHECKING:
    from ...contract.requests import Header, Request


def main() -> None:
    os.umask(0o022)  # accounts of services can read what is not kept private, whatever umask the login has
    header = json.loads(_line())
    folder, kept = _find(header)
    enter(folder, kept)
    from deploy_agent.__main__ import serve  # type: ignore[import-not-found]

    serve(header, sys.stdin.buffer, sys.stdout.buffer)


def _find(header: Header) -> Tuple[str, bool]:
    """The folder of the agent that is wanted, and whether it stays on the host."""
    agents = os.path.join(header["path"], ".deploy", "agents")
    for each in (agents, state_folder()):
        _claim(each, bool(header.get("install")))
    folder = os.path.join(agents, header["agent"])
    is_safe = not fault(folder)
    if is_safe and digest(folder) == header["agent"]:
        return folder, True
    _say(event="need-agent")
    # Requests may come before the agent that answers them: the toolkit does not wait to hear whether the host has it.
    header["pending"], package = _receive()
    try:
        if is_safe and header.get("install"):
            return _install(package, agents, header["agent"]), True
        return _unpack(package, None, header["agent"]), False
    except OSError as error:
        where = error.filename or agents
        what = f"the agent can't be unpacked on the host: {where}: {error.strerror or error}."
        raise _refusal(what, "make room or write access there") from None


def _claim(path: str, keep: bool) -> None:
    """Make the first folder of `path` that is missing in one like /tmp: there, nobody else can take it from us.

    What only looks leaves nothing there.
    """
    wrong = fault(path)
    if not wrong or own(wrong.path) or not path.startswith(wrong.path + "/"):
        return
    if not os.stat(wrong.path).st_mode & stat.S_ISVTX:
        return
    mine = os.path.join(wrong.path, path[len(wrong.path) + 1 :].split("/")[0])
    try:
        os.mkdir(mine, 0o755)
    except OSError:
        return  # it is there, or may not be: that is said by who judges it
    if not keep:
        atexit.register(_unclaim, mine)


def _unclaim(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError:
        pass  # it is in use by now


def _receive() -> Tuple[List[Request], bytes]:
    """What is asked meanwhile, and the agent's package."""
    pending: List[Request] = []
    while True:
        message = json.loads(_line())
        if "size" in message:
            return pending, _exactly(message["size"])
        pending.append(message)


def _install(package: bytes, agents: str, name: str) -> str:
    _make(os.path.dirname(agents), 0o711)
    _make(agents, 0o700)
    new = _unpack(package, agents, name)
    _sync_all(new)
    folder = os.path.join(agents, name)
    try:
        os.rename(new, folder)
    except OSError:
        if digest(folder) != name:
            os.rename(folder, new + ".old")
            os.rename(new, folder)
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(new + ".old", ignore_errors=True)
    _sync(agents)
    return folder


def _unpack(package: bytes, into: Optional[str], name: str) -> str:
    """A new folder in `into` with the agent called `name`; in none, one that goes when this process ends."""
    import io
    import tempfile
    import zipfile

    new = tempfile.mkdtemp(prefix=".new-", dir=into)
    try:
        zipfile.ZipFile(io.BytesIO(package)).extractall(new)
        # Where a folder above has a default ACL, that counts in place of the umask.
        for root, folders, files in os.walk(new):
            for each in folders:
                os.chmod(os.path.join(root, each), 0o755)
            for each in files:
                os.chmod(os.path.join(root, each), 0o644)
        wrong = fault(new)
        if wrong:
            next_step = wrong.remedy and "on the host: " + wrong.remedy
            raise _refusal(f"the agent can't be unpacked: {wrong}.", next_step)
        if digest(new) != name:
            raise _refusal("the agent arrived damaged.", "deploy up again; if it repeats, look at its disk")
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    if into is None:
        atexit.register(shutil.rmtree, new, ignore_errors=True)
    return new


def _line() -> bytes:
    """The next line. Read byte by byte: what follows is the agent's to read."""
    line = bytearray()
    while not line.endswith(b"\n"):
        line += _exactly(1)  # in place: a question about a thousand services has a million
    return bytes(line)


def _exactly(size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = os.read(0, size - len(data))
        if not more:
            sys.exit(0)
        data += more
    return data


def _say(**message: str) -> None:
    print(json.dumps(message), flush=True)  # noqa: T201


def _refusal(what: str, next_step: str) -> SystemExit:
    """The end of this program, said already."""
    _say(event="error", kind="refused", what=what, why="", next=next_step)
    return SystemExit(1)


def _make(folder: str, mode: int) -> None:
    if os.path.isdir(folder):
        return
    _make(os.path.dirname(folder), 0o755)
    try:
        os.mkdir(folder, mode)
    except FileExistsError:
        pass
    _sync(os.path.dirname(folder))


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_all(folder: str) -> None:
    """Sync the file system that `folder` is on (syncfs(2))."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syncfs"):
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if libc.syncfs(descriptor):
            raise OSError(ctypes.get_errno(), "syncfs", folder)
    finally:
        os.close(descriptor)
