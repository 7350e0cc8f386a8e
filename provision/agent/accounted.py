"""Whether what is in a project's folder is what its name says, and whether the state can be kept with it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Callable, Iterator, List, Tuple

from ..contract import tree
from ..contract.canonical import canonical
from ..contract.failure import Failure
from ..contract.names import ENVIRONMENT
from . import content, data, files, guard, launch, models, trust
from . import state as states
from .documents import read_documents, service_of
from .mending import Mending
from .supervisors import Supervisor

if TYPE_CHECKING:
    from ..contract.events import Emit
    from ..contract.release import ServiceDocument


def not_what_they_say(mending: Mending) -> Iterator[str]:
    layout = mending.layout
    judges: List[Tuple[str, Callable[[str], bool]]] = [
        (layout.agents, lambda path: trust.digest(path) == os.path.basename(path)),
        (layout.models, lambda path: _all_ours(path) and _is_model(path, mending.emit)),
        (layout.engines, _all_ours),
        (layout.haproxies, _all_ours),
        (layout.environments, _all_ours),
        (layout.pythons, _all_ours),
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
    inside = tree.walk(folder) if os.path.isdir(folder) else ()
    names = (os.path.join(parent, name) for parent, folders, others in inside for name in [*folders, *others])
    return trust.own(folder) is None and all(trust.own(os.path.join(folder, name)) is None for name in names)


def _is_model(folder: str, emit: Emit) -> bool:
    """Whether each file of a model's folder has the digest that the folder is called by."""
    wanted = os.path.basename(folder)[len("sha256-") :]
    paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    return all(os.path.isfile(path) and models.digest(path, emit) == wanted for path in paths)


def _is_release(folder: str) -> bool:
    """Whether a release's id is that of its content; what the prepare step links to is looked at where it is."""
    try:
        document: Any = files.read_json(os.path.join(folder, tree.DOCUMENT)) or {}
        outputs = {ENVIRONMENT}.union((document.get("prepare") or {}).get("outputs", ()))
        _drop_compiled(folder)
        shipped = data.as_shipped(tree.digest(folder)[1], document)
        entries = [entry for entry in shipped if entry.path not in outputs]
    except (OSError, ValueError, AttributeError):
        return False
    document.pop("prepared", None)
    return tree.release_id(canonical(document), tree.combine(entries)) == os.path.basename(folder)


def _drop_compiled(folder: str) -> None:
    """Remove what Python compiled beside its source, which it would believe; no release is shipped with it."""
    for parent, _, names in tree.walk(folder):
        if os.path.basename(parent) == "__pycache__":
            for name in names:
                if name.endswith(".pyc"):
                    os.unlink(os.path.join(folder, parent, name))


def is_whole(mending: Mending, supervisor: Supervisor) -> bool:
    """Whether the state can be kept: what it says is there, each launch is as its release has it, and nothing else
    runs.
    """
    layout = mending.layout
    if not all(map(mending.stays, (layout.state, layout.journal))):
        return False
    open_transaction = os.path.lexists(layout.journal)
    try:
        state = states.read_state(layout)
        wanted = {*state.channels.values(), *(program.release for program in state.programs.values())}
        if not all(mending.stays(layout.document(release)) for release in wanted):
            return False
        documents = read_documents(layout, wanted)
        if not all(mending.stays(path) and os.path.isdir(path) for path in content.of(layout, documents.values())):
            return False
        for name, program in state.programs.items():
            service = service_of(documents, name, program)
            if not mending.stays(layout.launchers(name)) or not _is_launch(
                os.path.join(layout.launchers(name), program.launch), service
            ):
                return False
            if not open_transaction and launch.current(layout, name) != program.launch:
                return False
    except (Failure, OSError, ValueError, KeyError, TypeError):
        return False
    return wanted <= set(documents) and (open_transaction or set(supervisor.ours()) <= set(state.programs))


def _is_launch(folder: str, service: ServiceDocument) -> bool:
    """Whether a launch folder is its service's own, and starts what the release says."""
    uid = launch.owner(service.get("user", ""))
    uid = os.geteuid() if uid is None else uid
    fd = os.open(os.path.join(folder, "launch"), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, encoding="utf-8", newline="") as stream:
        text, file = stream.read(), os.fstat(stream.fileno())
    return os.lstat(folder).st_uid == file.st_uid == uid and text == service["launch"]
