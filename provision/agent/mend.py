"""Make a project's folder one that can be trusted again, believing nothing in it that cannot be shown to be ours.

What is ours, and others might write to, they no longer may. What is another's is set aside: moved away whole, never
followed, read or removed, so that whoever it belongs to finds it. What names its own content is compared with it. The
rest is `deploy up`'s: what is missing is shipped, and what was ended is started.
"""

from __future__ import annotations

import os
import stat
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from . import files, guard, launch, models, outside, seal, tree, trust
from . import state as states
from .documents import read_documents, service_of
from .layout import Layout, host_folder
from .protocol import RESULT, AgentError, Message
from .supervisors import Supervisor

_TIGHT = 0o7755


class Mending:
    """What one mending does, noted as it goes."""

    def __init__(self, layout: Layout, emit: Callable[[Message], None]) -> None:
        self.layout = layout
        self.closed: List[str] = []  # others could write there, and no longer can
        self.aside: Dict[str, str] = {}  # what was there -> where it is now
        self._emit = emit
        self._when = time.strftime("%Y%m%dT%H%M%S", time.gmtime())

    def close(self, path: str) -> None:
        """Take the right to write from everybody else."""
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.fchmod(fd, stat.S_IMODE(os.fstat(fd).st_mode) & _TIGHT)
        finally:
            os.close(fd)
        self.closed.append(path)
        self._step("closed to others", path)

    def set_aside(self, path: str) -> None:
        """Move away what is at `path`, whatever it is."""
        place = f"{path}.set-aside-{self._when}"
        for base in (self.layout.root, host_folder()):
            if path.startswith(base + "/"):
                folder = os.path.join(base, f"set-aside-{self._when}")
                os.makedirs(folder, mode=0o700, exist_ok=True)
                place = os.path.join(folder, path[len(base) + 1 :].replace("/", "-"))
                break
        os.rename(path, place)
        self.aside[path] = place
        self._step("set aside", f"{path} as {place}")

    def _step(self, step: str, detail: str) -> None:
        self._emit({"event": "step", "step": step, "program": "", "detail": detail})


def mend(
    layout: Layout, supervisor: Supervisor, fault: Optional[trust.Fault], emit: Callable[[Message], None]
) -> Message:
    """Mend the folders of the project and of the host; what was done.

    Raises:
        AgentError: a folder above is another's, which only its owner or root can change; nothing was.
    """
    mending = Mending(layout, emit)
    if fault is None:
        return {"event": RESULT, "closed": [], "aside": {}, "ended": [], "trusted": True}
    for path in (layout.root, host_folder()):
        _way(mending, path)
    for path in guard.believed(layout):
        _entry(mending, path)
    ended = _contents(mending, supervisor, emit)
    left = guard.fault(layout)
    if left is not None:
        raise guard.refusal(layout.root, left)
    return {"event": RESULT, "closed": mending.closed, "aside": mending.aside, "ended": ended, "trusted": True}


def _way(mending: Mending, path: str) -> None:
    """Mend the way down to a folder of ours, from `/` on."""
    for _ in range(path.count("/") + 1):
        found = trust.fault(path)
        if found is None:
            return
        own = trust.own(found.path) if os.path.lexists(found.path) else None
        if own is None:
            # Ours, but for a folder like /tmp that everybody may add to: there it has to be before anybody else is.
            _begin(mending, path, found)
        elif _is_ours(found.path) or found.path == path:
            try:
                (mending.close if _is_ours(found.path) else mending.set_aside)(found.path)
            except OSError:
                raise guard.refusal(mending.layout.root, found) from None
        else:
            raise guard.refusal(mending.layout.root, found)
    found = trust.fault(path)
    if found is not None:
        raise guard.refusal(mending.layout.root, found)


def _begin(mending: Mending, path: str, found: trust.Fault) -> None:
    below = (
        path[len(found.path.rstrip("/")) + 1 :].split("/")[0] if path.startswith(found.path.rstrip("/") + "/") else ""
    )
    if not below:
        raise guard.refusal(mending.layout.root, found)
    try:
        os.mkdir(os.path.join(found.path, below), 0o755)
    except OSError:
        raise guard.refusal(mending.layout.root, found) from None


def _is_ours(path: str) -> bool:
    return os.lstat(path).st_uid in (0, os.geteuid())


def _entry(mending: Mending, path: str) -> None:
    """Mend one thing that is believed, in a folder that is mended."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        if trust.own(path, found) or trust.fault(path):
            mending.set_aside(path)
    elif trust.own(path, found) is not None:
        # A file that others could write to says what they like; a folder's parts are looked at one by one.
        if _is_ours(path) and stat.S_ISDIR(found.st_mode):
            mending.close(path)
        else:
            mending.set_aside(path)


def _contents(mending: Mending, supervisor: Supervisor, emit: Callable[[Message], None]) -> List[str]:
    """Set aside what is not what its name says; end what runs where nothing tells any more what that is."""
    layout = mending.layout
    for path in _not_what_they_say(layout, emit):
        mending.set_aside(path)
    if _is_whole(layout, supervisor):
        for name, release in states.read(layout).channels.items():
            files.point(layout.channel(name), os.path.join("releases", release))
        return []
    # What is left of the state cannot be kept: it names what is not there, or is not ours.
    ended = outside.end_all(supervisor, emit)
    for path in (layout.state, layout.journal, layout.run, layout.channel("stable"), layout.channel("canary")):
        if os.path.lexists(path):
            mending.set_aside(path)
    return ended


def _not_what_they_say(layout: Layout, emit: Callable[[Message], None]) -> Iterator[str]:
    judges: List[Tuple[str, Callable[[str], bool]]] = [
        (layout.agents, lambda path: trust.digest(path) == os.path.basename(path)),
        (layout.models, lambda path: _all_ours(path) and _is_model(path, emit)),
        (layout.engines, _all_ours),
        (layout.prepared, _all_ours),
        (layout.releases, lambda path: _all_ours(path) and _is_release(path)),
    ]
    for folder, is_right in judges:
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            path = os.path.join(folder, name)
            # An upload is compared when it is sealed.
            if not (_all_ours(path) if name.startswith(".") else is_right(path)):
                yield path


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
        entries = [entry for entry in tree.digest(folder)[1] if entry.path not in outputs]
    except (OSError, ValueError, AttributeError):
        return False
    document.pop("prepared", None)
    return tree.release_id(seal.canonical(document), tree.combine(entries)) == os.path.basename(folder)


def _is_whole(layout: Layout, supervisor: Supervisor) -> bool:
    """Whether the state can be kept: what it says is there, each launch is as its release has it, and nothing else
    runs.
    """
    open_transaction = os.path.lexists(layout.journal)
    try:
        state = states.read(layout)
        wanted = {*state.channels.values(), *(program.release for program in state.programs.values())}
        documents = read_documents(layout, wanted)
        for document in documents.values():
            for path in _content(layout, document):
                if not os.path.isdir(path):
                    return False
        for name, program in state.programs.items():
            service = service_of(documents, name, program)
            if not _is_launch(os.path.join(layout.launchers(name), program.launch), service):
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
