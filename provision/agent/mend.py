"""Make a project's folder one that can be trusted again, believing nothing in it that cannot be shown to be ours.

What is ours, and others might write to, they no longer may. What is another's is set aside: moved away whole, never
followed, read or removed, so that whoever it belongs to finds it. What names its own content is compared with it. The
rest is `deploy up`'s: what is missing is shipped, and what was ended is started.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from . import files, guard, launch, models, outside, seal, tree, trust
from . import state as states
from .documents import read_documents, service_of
from .layout import Layout, host_folder
from .locks import Lock
from .protocol import REFUSED, RESULT, AgentError, Message
from .supervisors import Supervisor

Emit = Callable[[Message], None]

_TIGHT = 0o7755
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Mending:
    """What one mending does, noted as it goes."""

    def __init__(self, layout: Layout, emit: Emit) -> None:
        self.layout = layout
        self.closed: List[str] = []  # others could write there, and no longer can
        self.doomed: List[str] = []  # what is to be set aside, once what uses it has ended
        self.aside: Dict[str, str] = {}  # what was there -> where it is now
        self._folders: Dict[str, str] = {}
        self._emit = emit
        self._when = time.strftime("%Y%m%dT%H%M%S", time.gmtime())

    def emit(self, message: Message) -> None:
        """Tell it, if anybody listens: what has begun goes on either way."""
        with contextlib.suppress(OSError):
            self._emit(message)

    def close(self, path: str) -> None:
        """Take the right to write from everybody else; what is another's account's is ours from now on."""
        fd = os.open(path, _FOLDER)
        try:
            found = os.fstat(fd)
            if found.st_uid not in (0, os.geteuid()):
                os.fchown(fd, os.geteuid(), os.getegid())
            os.fchmod(fd, stat.S_IMODE(found.st_mode) & _TIGHT)
        except PermissionError:
            raise _by_hand(path, "is not this account's to close") from None
        finally:
            os.close(fd)
        self.closed.append(path)
        self._step("closed to others", path)

    def stays(self, path: str) -> bool:
        """Whether neither it nor a folder above it is to be set aside."""
        return not any(path == doomed or path.startswith(doomed + "/") for doomed in self.doomed)

    def set_aside(self, path: str) -> None:
        """Move away what is at `path`, whatever it is.

        Raises:
            AgentError: it can't be moved.
        """
        base = host_folder() if path.startswith(host_folder() + "/") else self.layout.root
        # Of a name that nobody can have guessed: others could write there until now.
        folder = self._folders.get(base) or tempfile.mkdtemp(prefix=f"set-aside-{self._when}-", dir=base)
        self._folders[base] = folder
        near = os.path.join(os.path.dirname(path), f".{os.path.basename(folder)}-{os.path.basename(path)}")
        place = os.path.join(folder, path[len(base) + 1 :].replace("/", "-"))
        try:
            os.rename(path, place)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise _by_hand(path, f"can't be set aside ({error.strerror})") from None
            place = near  # the folder that it lies in is on a file system of its own
            try:
                os.rename(path, place)
            except OSError as again:
                raise _by_hand(path, f"can't be set aside ({again.strerror})") from None
        self.aside[path] = place
        self._step("set aside", f"{path} as {place}")

    def _step(self, step: str, detail: str) -> None:
        self.emit({"event": "step", "step": step, "program": "", "detail": detail})


def mend(layout: Layout, supervisor: Supervisor, fault: Optional[trust.Fault], emit: Emit) -> Message:
    """Mend the folders of the project and of the host; what was done.

    Raises:
        AgentError: a folder above is not ours alone, or the project's or the host's own is another's, which only its
            owner or root can change: nothing was. Or a transaction runs, or something can't be moved.
    """
    mending = Mending(layout, emit)
    if fault is None:
        return {"event": RESULT, "closed": [], "aside": {}, "ended": [], "trusted": True}
    open_ = [path for folder in (layout.root, host_folder()) for path in _way(layout, folder)]
    _mark(layout)
    for path in dict.fromkeys(open_):
        mending.close(path)
    _judge(mending, layout.private)
    locked = Lock(layout.lock)
    if mending.stays(layout.private):
        if not os.path.isdir(layout.private):
            files.make_folder(layout.private, 0o711)
        _mark(layout)  # again: until now others may have removed it
        _judge(mending, os.path.join(layout.private, "locks"))
        if mending.stays(os.path.join(layout.private, "locks")):
            _take(locked)
    try:
        ended = _mend(mending, supervisor)
    finally:
        locked.release()
    return {"event": RESULT, "closed": mending.closed, "aside": mending.aside, "ended": ended, "trusted": True}


def _mend(mending: Mending, supervisor: Supervisor) -> List[str]:
    """Judge all, end what runs where it can't stay, and only then move anything."""
    layout = mending.layout
    for path in guard.believed(layout, mending.stays):
        if mending.stays(path):
            _judge(mending, path)
    mending.doomed += _planted_logs(mending)
    mending.doomed += _not_what_they_say(mending)
    for path in mending.doomed:
        _demand_movable(path)
    whole = _is_whole(mending, supervisor)
    ended: List[str] = []
    if not whole:
        # What is left of the state cannot be kept: it names what is not there, or is not ours.
        ended = outside.end_all(supervisor, mending.emit)
        rest = (layout.state, layout.journal, layout.run, layout.channel("stable"), layout.channel("canary"))
        mending.doomed += [path for path in rest if mending.stays(path) and os.path.lexists(path)]
    # The project's own notes last: while they are another's nothing here is believed.
    for path in sorted(mending.doomed, key=layout.private.__eq__):
        mending.set_aside(path)
    if whole:
        for name, release in states.read(layout).channels.items():
            files.point(layout.channel(name), os.path.join("releases", release))
    left = trust.fault(layout.private) or trust.fault(host_folder()) or guard.below(layout)
    if left is not None:
        raise guard.refusal(layout.root, left)
    files.remove(layout.mending)
    return ended


def _way(layout: Layout, path: str) -> List[str]:
    """What is to be closed on the way down to a folder of ours: itself, or nothing.

    Raises:
        AgentError: it is another's, or what is above it is not ours alone, which is not this project's to change.
    """
    for _ in range(path.count("/") + 1):
        found = trust.fault(path)
        if found is None:
            return []
        if os.path.lexists(found.path) and _is_ours(found.path):
            if found.path == os.path.realpath(path):
                return [found.path]
            if trust.own(found.path) is None:
                # A folder like /tmp that everybody may add to: there it has to be before anybody else is.
                _begin(layout, path, found)
                continue
        break
    assert found is not None  # noqa: S101
    raise guard.refusal(layout.root, found)


def _begin(layout: Layout, path: str, found: trust.Fault) -> None:
    below = (
        path[len(found.path.rstrip("/")) + 1 :].split("/")[0] if path.startswith(found.path.rstrip("/") + "/") else ""
    )
    if not below:
        raise guard.refusal(layout.root, found)
    try:
        os.mkdir(os.path.join(found.path, below), 0o755)
    except OSError:
        raise guard.refusal(layout.root, found) from None


def _mark(layout: Layout) -> None:
    """Note that the folder is being mended, so that nothing there is believed should that be cut off.

    Others may still write there: only what is no link is entered. Where their folder is in the way, nothing there is
    believed anyhow, until it is moved at the very end.
    """
    try:
        root = os.open(os.path.realpath(layout.root), _FOLDER)
    except FileNotFoundError:
        return
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(".deploy", 0o711, dir_fd=root)
        private = os.open(".deploy", _FOLDER, dir_fd=root)
    except OSError:
        return
    finally:
        os.close(root)
    name = os.path.basename(layout.mending)
    try:
        if os.fstat(private).st_uid == os.geteuid():
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=private)
            with contextlib.suppress(FileExistsError):
                os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=private))
            os.fsync(private)
    finally:
        os.close(private)


def _take(lock: Lock) -> None:
    """Keep transactions, and other mendings, out."""
    if not lock.take({"who": "deploy host mend", "doing": "mending"}):
        holder = lock.holder() or {}
        pid = holder.get("pid", "?")
        raise AgentError(
            REFUSED,
            "a transaction of this project is running, and its folder can't be mended meanwhile.",
            why=f"{holder.get('who', 'somebody')} holds the lock (pid {pid}, {holder.get('doing', 'deploying')}).",
            next_step=f"wait for it, or end it there (kill {pid}); then deploy host mend",
        )


def _is_ours(path: str) -> bool:
    return os.lstat(path).st_uid in (0, os.geteuid())


def _demand_movable(path: str) -> None:
    import pwd

    homes = [os.path.normpath(account.pw_dir) for account in pwd.getpwall() if account.pw_dir]
    if any(home == path or home.startswith(path + "/") for home in homes):
        raise _by_hand(path, "is an account's home, and stays where it is")
    if os.path.ismount(path):
        raise _by_hand(path, "is a mount, and can't be set aside")


def _by_hand(path: str, why: str) -> AgentError:
    found = os.lstat(path)
    return AgentError(
        REFUSED,
        f"{path} belongs to {trust.account(found.st_uid)} (mode {stat.S_IMODE(found.st_mode):04o}), and {why}.",
        why="What is below it is not believed before it is ours alone.",
        next_step=f"look at what lies there, and by hand: chown -h {trust.account(os.geteuid())} {path}; "
        f"chmod go-w {path}; then deploy host mend",
    )


def _judge(mending: Mending, path: str) -> None:
    """Close one thing that is believed, or have it set aside; what services keep their data in stays where it is."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        if trust.own(path, found) or trust.fault(path):
            mending.doomed.append(path)
    elif trust.own(path, found) is not None:
        # A file that others could write to says what they like; a folder's parts are looked at one by one.
        stays = path in (mending.layout.shared, mending.layout.logs)
        if (_is_ours(path) or stays) and stat.S_ISDIR(found.st_mode):
            mending.close(path)
        else:
            mending.doomed.append(path)


def _planted_logs(mending: Mending) -> Iterator[str]:
    """What a supervisor would write to in place of a log: links, and what is no file."""
    folder = mending.layout.logs
    if mending.stays(folder) and os.path.isdir(folder):
        for entry in os.scandir(folder):
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                continue
            if not stat.S_ISDIR(found.st_mode) and found.st_uid not in (0, os.geteuid()):
                yield entry.path


def _not_what_they_say(mending: Mending) -> Iterator[str]:
    layout = mending.layout
    judges: List[Tuple[str, Callable[[str], bool]]] = [
        (layout.agents, lambda path: trust.digest(path) == os.path.basename(path)),
        (layout.models, lambda path: _all_ours(path) and _is_model(path, mending.emit)),
        (layout.engines, _all_ours),
        (layout.prepared, _all_ours),
        (layout.releases, lambda path: _all_ours(path) and (_is_release(path) or _is_kept(mending, path))),
    ]
    for folder, is_right in judges:
        there = sorted(os.listdir(folder)) if mending.stays(folder) and os.path.isdir(folder) else ()
        for name in there:
            path = os.path.join(folder, name)
            if name.startswith(guard.UNBELIEVED) or not mending.stays(path):
                continue  # an upload is compared when it is sealed
            if not (_all_ours(path) if name.startswith(".") else is_right(path)):
                yield path


def _is_kept(mending: Mending, release: str) -> bool:
    """Whether a release that has changed stays, because only we can have changed it: a service of ours wrote there."""
    if {release, os.path.dirname(release)} & set(mending.closed):
        return False
    mending.emit(
        {
            "event": "warning",
            "text": f"{release} is not what it was when it was shipped; only its own account can have changed it",
        }
    )
    return True


def _all_ours(folder: str) -> bool:
    """Whether nobody else could have written anything in the whole folder."""
    for parent, folders, names in os.walk(folder):
        for path in [parent, *(os.path.join(parent, name) for name in [*folders, *names])]:
            if trust.own(path) is not None:
                return False
    return True


def _is_model(folder: str, emit: Callable[[Message], None]) -> bool:
    """Whether each file of a model's folder has the digest that the folder is called by."""
    wanted = os.path.basename(folder)[len("sha256-") :]
    paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    return all(os.path.isfile(path) and models.digest(path, emit) == wanted for path in paths)


def _is_release(folder: str) -> bool:
    """Whether a release's id is that of its content; what the prepare step links to is looked at where it is."""
    try:
        document: Dict[str, Any] = files.read_json(os.path.join(folder, tree.DOCUMENT)) or {}
        outputs = set((document.get("prepare") or {}).get("outputs", ()))
        _drop_compiled(folder)
        entries = [entry for entry in tree.digest(folder)[1] if entry.path not in outputs]
    except (OSError, ValueError, AttributeError):
        return False
    document.pop("prepared", None)
    return tree.release_id(seal.canonical(document), tree.combine(entries)) == os.path.basename(folder)


def _drop_compiled(folder: str) -> None:
    """Remove what Python compiled beside its source, which it would believe; no release is shipped with it."""
    for parent, _, names in os.walk(folder):
        if os.path.basename(parent) == "__pycache__":
            for name in names:
                if name.endswith(".pyc"):
                    os.unlink(os.path.join(parent, name))


def _is_whole(mending: Mending, supervisor: Supervisor) -> bool:
    """Whether the state can be kept: what it says is there, each launch is as its release has it, and nothing else
    runs.
    """
    layout = mending.layout
    if not all(map(mending.stays, (layout.state, layout.journal))):
        return False
    open_transaction = os.path.lexists(layout.journal)
    try:
        state = states.read(layout)
        wanted = {*state.channels.values(), *(program.release for program in state.programs.values())}
        if not all(mending.stays(layout.document(release)) for release in wanted):
            return False
        documents = read_documents(layout, wanted)
        for document in documents.values():
            for path in _content(layout, document):
                if not (mending.stays(path) and os.path.isdir(path)):
                    return False
        for name, program in state.programs.items():
            service = service_of(documents, name, program)
            if not mending.stays(layout.launchers(name)) or not _is_launch(
                os.path.join(layout.launchers(name), program.launch), service
            ):
                return False
            if not open_transaction and launch.current(layout, name) != program.launch:
                return False
    except (AgentError, OSError, ValueError, KeyError, TypeError):
        return False
    return wanted <= set(documents) and (open_transaction or set(supervisor.ours()) <= set(state.programs))


def _content(layout: Layout, document: Dict[str, Any]) -> Iterator[str]:
    """The folders besides its own that a release needs."""
    for model in document["models"].values():
        yield os.path.join(layout.models, "sha256-" + model["sha256"])
    for engine in document.get("engines", {}):
        yield os.path.join(layout.engines, engine)
    if document.get("prepared"):
        yield os.path.join(layout.prepared, document["prepared"])


def _is_launch(folder: str, service: Dict[str, Any]) -> bool:
    """Whether a launch folder is its service's own, and starts what the release says."""
    uid = launch.owner(service.get("user", ""))
    uid = os.geteuid() if uid is None else uid
    fd = os.open(os.path.join(folder, "launch"), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, encoding="utf-8", newline="") as stream:
        text, file = stream.read(), os.fstat(stream.fileno())
    return os.lstat(folder).st_uid == file.st_uid == uid and text == service["launch"]
