"""The HAProxy of the host's front, and who starts it: the supervisor of the project that needed it first."""

from __future__ import annotations

import os
import shutil
import time
from typing import Iterable, Mapping

from ...contract.failure import FAILED, REFUSED, Failure
from ...contract.layout import Layout
from .. import files
from ..front import program as haproxies
from ..front import starting
from ..front.render import HANDED_OVER
from ..front.runtime import Runtime
from ..front.values import Front
from ..supervisors import open_supervisor, options
from . import book

NAME = "deploy-front"
_START_SECONDS = 20.0
_STOP_SECONDS = 10.0
_POLL = 0.05


def runtime() -> Runtime:
    """Who speaks with it."""
    layout = book.place()
    return Runtime(layout.traffic, haproxies.find(layout.haproxies))


def is_up() -> bool:
    """Whether it runs, and answers."""
    try:
        return runtime().is_up()
    except Failure:
        return False


def start(
    front: Front,
    haproxy: str,
    platform: str,
    settings: Mapping[str, object],
    sockets_of: str,
    roots: Iterable[str],
) -> None:
    """Let it run, and be `front`.

    Args:
        haproxy: the project's, which may be one that was shipped to it.
        settings: how the project reaches its supervisor.
        sockets_of: the folder of a project's front that lets it have the sockets at which that listens.
        roots: the folders of the projects that it leads to.

    Raises:
        Failure: it does not.
    """
    layout = book.place()
    _bring(haproxy, layout)
    files.write_json(layout.supervisor, settings)
    supervisor = open_supervisor(layout, platform, settings)
    runtime().become(front)
    own = supervisor.own(NAME, _script(sockets_of), sorted({_around(root) for root in roots}))
    for holder in supervisor.foreign({own.program: own.manifest}).values():
        raise Failure(FAILED, f"the name {own.program!r} is taken: {holder}.")
    files.write(supervisor.manifest_path(own.manifest), own.text)
    supervisor.load([own.program], [])
    supervisor.start([own.program])
    supervisor.enable([own.program])
    until = time.monotonic() + _START_SECONDS
    while not runtime().is_up():
        if time.monotonic() > until:
            log = supervisor.log_tail(own.program)
            raise Failure(FAILED, "the host's own front, which several projects are to share, does not start.", log=log)
        time.sleep(_POLL)


def stop(platform: str) -> None:
    """End it, and let nothing start it again. May be repeated."""
    layout = book.place()
    supervisor = open_supervisor(layout, platform, options(layout))
    own = supervisor.own(NAME, "", ())
    if os.path.exists(supervisor.manifest_path(own.manifest)):
        supervisor.stop({own.program: _STOP_SECONDS})
        supervisor.disable([own.program])
        files.remove(supervisor.manifest_path(own.manifest))
        supervisor.load([], [own.program])
    files.remove_tree(layout.traffic)


def _around(root: str) -> str:
    """What it sees of a project's folder: others beside it will come."""
    parent = os.path.dirname(root)
    is_in_it = os.path.dirname(os.path.realpath(root)) == os.path.realpath(parent)
    return parent if parent != "/" and is_in_it else root


def demand_sight(platform: str, root: str) -> None:
    """Refuse a project that the front, which runs, could not lead to, as it sees some folders of the host alone.

    Raises:
        Failure: it is one.
    """
    layout = book.place()
    if not open_supervisor(layout, platform, options(layout)).is_seen_by_own(NAME, root):
        what = f"what hands connections on by name ({NAME}) is a container, and does not see {root}."
        why = "It sees the folders in which the first two of its projects lie, and whatever comes beside these."
        raise Failure(REFUSED, what, why, "another `path` for the target, beside those of the others; then: deploy up")


def _bring(haproxy: str, layout: Layout) -> None:
    """Have a HAProxy that stays when the project goes which brought one."""
    source = os.path.dirname(haproxy)
    if os.path.basename(source).startswith("sha256-"):
        place = os.path.join(layout.haproxies, os.path.basename(source))
        if not os.path.isdir(place):
            files.make_folder(layout.haproxies)
            part = place.replace("sha256-", ".incoming-")
            files.remove_tree(part)
            shutil.copytree(source, part)
            os.rename(part, place)


def _script(sockets_of: str) -> str:
    layout = book.place()
    what = "Hands connections on to this account's projects, by name."
    haproxy = haproxies.find(layout.haproxies)
    path = os.path.join(layout.run, NAME)
    files.write(path, starting.script(haproxy, layout.traffic, what, os.path.join(sockets_of, HANDED_OVER)), 0o700)
    return path
