"""Launch folders: how one program is started, secrets included.

`run/PROGRAM/LAUNCH/` holds `launch` (from the release, without secrets), `secrets` for the environment,
`secret-files` with a file for each of the others, `devices` where the program has GPUs of its own, `starts`, and the
link `release`; `run/PROGRAM/current` says which of them the supervisor starts. A folder is complete before it has its
name and never changed after, but for `starts`, in which the launcher notes when it was started; so switching, and
switching back, is one link. Each belongs to the service's own user, and nobody else may enter it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import shlex
import stat
from typing import TYPE_CHECKING, Dict, List, Mapping, Optional, Tuple

from ..contract.failure import REFUSED, Failure
from ..contract.layout import DEVICES, SECRET_FOLDER, STARTS, Layout
from ..contract.state import State
from . import files

if TYPE_CHECKING:
    from ..contract.release import ServiceDocument

STARTS_BYTES = 255  # of the one line that launchers write, without its end (templates/launcher)
# What a path says that is no file of ours: nothing is there, or it is of another kind. Whatever else may happen to one
# who looks, such as not being let in, says nothing of what is there.
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


def quote(value: str) -> str:
    """A single shell word (POSIX 2.2.2: nothing is special between single quotes but the quote itself)."""
    return "'" + value.replace("'", "'\\''") + "'"


def owner(user: str) -> Optional[int]:
    """The uid of a service's user, or None for our own.

    Raises:
        Failure: there is no such user, or we may not start programs as that user.
    """
    if not user:
        return None
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        raise Failure(
            REFUSED, f"user {user!r} does not exist on this host.", next_step=f"useradd --system {user}"
        ) from None
    if uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise Failure(
            REFUSED,
            f"{pwd.getpwuid(os.geteuid()).pw_name} can't start a service as {user!r}.",
            next_step="deploy as root or with sudo = true, or leave `user` out",
        )
    return uid


def stage(
    layout: Layout,
    service: ServiceDocument,
    release: str,
    launch: str,
    secrets: Dict[str, str],
    devices: Mapping[str, str],
) -> None:
    """Make the folder `launch` for a program; not yet the one that is started.

    Args:
        devices: the variables that say which GPUs it has.
    """
    base = layout.launchers(service["program"])
    uid = owner(service.get("user", ""))
    files.make_folder(base)
    # May be passed through, but not listed: launches of one program may belong to different users.
    os.chown(base, os.geteuid(), -1)
    os.chmod(base, 0o711)
    folder = os.path.join(base, launch)
    temporary = folder + ".new"
    files.remove_tree(temporary)
    os.mkdir(temporary, 0o700)
    _write(os.path.join(temporary, "launch"), service["launch"], 0o500, uid)
    if service["launch"]:  # all of its length from the start: noting something takes no room
        _write(os.path.join(temporary, STARTS), " " * STARTS_BYTES + "\n", 0o600, uid)
    as_files = set(service.get("secret_files", ()))
    exported = {name: secrets[name] for name in sorted(set(service["secrets"]) - as_files)}
    for file, variables in (("secrets", exported), (DEVICES, devices)):
        if variables:
            lines = [f"export {name}={quote(value)}\n" for name, value in variables.items()]
            _write(os.path.join(temporary, file), "".join(lines), 0o400, uid)
    if as_files:
        apart = os.path.join(temporary, SECRET_FOLDER)
        os.mkdir(apart, 0o700)
        for name in as_files:
            _write(os.path.join(apart, name), secrets[name], 0o400, uid)
        if uid is not None:
            os.chown(apart, uid, -1)
    os.symlink(os.path.relpath(layout.release(release), folder), os.path.join(temporary, "release"))
    if uid is not None:
        os.chown(temporary, uid, -1)
    os.rename(temporary, folder)


def _write(path: str, text: str, mode: int, uid: Optional[int]) -> None:
    # Not synced one by one: the transaction syncs the file system once before it relies on them.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(fd, "w", encoding="utf-8", newline="") as stream:
        stream.write(text)
        os.fchmod(stream.fileno(), mode)
        if uid is not None:
            os.fchown(stream.fileno(), uid, -1)


def current(layout: Layout, program: str) -> str:
    return files.read_link(os.path.join(layout.launchers(program), "current"))


def select(layout: Layout, program: str, launch: str) -> None:
    files.point(os.path.join(layout.launchers(program), "current"), launch)


def read_secrets(layout: Layout, program: str, launch: str) -> Dict[str, str]:
    """The secrets in a launch folder, however they reach the program.

    The folder is its service's account's, which may have put there what it likes: only plain files of that account
    are read, for a link could lead to anything that we may read and it may not.

    Raises:
        OSError: we may not look into it.
    """
    folder = os.path.join(layout.launchers(program), launch)
    values = exported_secrets(folder)
    for name, path in secret_files(folder).items():
        with contextlib.suppress(FileNotFoundError):
            values[name] = _text(path)
    return values


def exported_secrets(folder: str) -> Dict[str, str]:
    """Those for the environment."""
    return _exported(os.path.join(folder, "secrets"))


def devices(folder: str) -> Dict[str, str]:
    """The variables that say which GPUs a program has."""
    return _exported(os.path.join(folder, DEVICES))


def starts(folder: str) -> List[str]:
    """What its launcher noted of the last starts, newest first: when (seconds since 1970), and as which process."""
    try:
        line = _text(os.path.join(folder, STARTS), STARTS_BYTES)
    except (OSError, ValueError):
        return []
    return line.split() if line.endswith(" ") else line.split()[:-1]  # the oldest one may have been cut


def _exported(path: str) -> Dict[str, str]:
    """Read back with the shell's own rules."""
    try:
        words = shlex.split(_text(path))
    except FileNotFoundError:
        return {}
    return dict(word.split("=", 1) for word in words if "=" in word)


def secret_files(folder: str) -> Dict[str, str]:
    """Name -> path of those that are files.

    Raises:
        OSError: we may not look.
    """
    apart = os.path.join(folder, SECRET_FOLDER)
    try:
        names = os.listdir(apart) if not os.path.islink(apart) else []
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        names = []
    return {name: os.path.join(apart, name) for name in sorted(names)}


def _text(path: str, most: int = -1) -> str:
    """What such a file says; nothing where it is none that was put there for that account.

    Args:
        most: characters that are read.

    Raises:
        FileNotFoundError: there is no such file, or something else has its name.
        OSError: we may not look.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        parent = os.open(os.path.dirname(path), flags | os.O_DIRECTORY)
        try:
            fd = os.open(os.path.basename(path), flags, dir_fd=parent)
            account = os.fstat(parent).st_uid
        finally:
            os.close(parent)
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        raise FileNotFoundError(error.errno, error.strerror, path) from None
    with os.fdopen(fd, encoding="utf-8", newline="") as stream:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or account not in (os.geteuid(), found.st_uid):
            raise FileNotFoundError(errno.ENOENT, "not a plain file of that account", path)
        return stream.read(most)


def every_secret(layout: Layout) -> List[Tuple[str, str]]:
    """Name and value of each secret that some program here has, had lately, or is about to get.

    Raises:
        OSError: we may not look into a launch folder, so that there may be more.
    """
    found = set()
    for program in os.listdir(layout.run) if os.path.isdir(layout.run) else ():
        for launched in os.listdir(layout.launchers(program)):
            try:
                found |= set(read_secrets(layout, program, launched).items())
            except ValueError:
                continue  # half made, by a worker that was killed: nothing was started with it
    return sorted(found)


def current_secrets(layout: Layout, state: State) -> Dict[str, str]:
    """Today's value of every secret that some program on this host has."""
    values: Dict[str, str] = {}
    for name, program in state.programs.items():
        if any(state.secrets.get(secret) == version for secret, version in program.secrets.items()):
            held = read_secrets(layout, name, program.launch)
            for secret, version in program.secrets.items():
                if state.secrets.get(secret) == version and secret in held:
                    values[secret] = held[secret]
    return values
