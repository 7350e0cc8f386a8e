"""Whether the host's front is what this account's projects want by their committed states, and how it becomes that.

Nothing that lies beside it is believed for that: which projects there are, the hook knows that starts them after a
reboot, and all else follows from them.
"""

from __future__ import annotations

import os
from typing import Dict, Iterator, List, Mapping, NamedTuple

from ...contract.failure import Failure
from ...contract.layout import Layout
from .. import boot
from ..front import configuration
from ..front.account import account
from ..front.render import render
from ..front.values import Front
from ..guard import fault
from ..public import everywhere
from . import book, claims, moving, program
from .book import OWN, Book, Claim
from .moving import FrontOf, RuntimeOf


class Starter(NamedTuple):
    """How a project has its programs started, and so the host's front."""

    platform: str
    settings: Mapping[str, object]
    haproxy: str


class _Found(NamedTuple):
    """What it should be, and what is wrong with it, in sentences."""

    wanted: Book
    wrong: List[str]


def hurt(front_of: FrontOf) -> List[str]:
    """What is wrong with it, in sentences; nothing where nobody can say, as one of the projects is being changed."""
    return _found(front_of).wrong if book.is_in_sight() else []


def mend(front_of: FrontOf, runtime_of: RuntimeOf, starter: Starter) -> List[str]:
    """Put it right; what was wrong. May be repeated.

    Args:
        starter: who starts it, if nobody does.

    Raises:
        Failure: it can't be, as HAProxy does not start, or others keep it for too long.
    """
    if not book.is_in_sight():
        return []
    with book.locked():
        found = _found(front_of)
        if not found.wrong:
            return []
        after = found.wanted._replace(platform=starter.platform)
        if not after.ports:
            program.stop(starter.platform)
            book.write(after._replace(platform=""))
        else:
            book.write(after)
            front = _front(after)
            if program.is_up():
                program.runtime().become(front)
            else:
                at = book.place().traffic
                program.start(front, starter.haproxy, starter.platform, starter.settings, at, after.projects)
        for root in after.projects:
            moving.place(after, root, front_of, runtime_of)
        return found.wrong


def _found(front_of: FrontOf) -> _Found:
    if any(os.path.exists(each.journal) for each in _projects()):
        return _Found(Book(), [])  # it becomes another, and whoever ends that leaves it right
    try:
        wanted = _wanted(front_of)
        return _Found(wanted, list(_wrong(wanted)))
    except (Failure, OSError):
        return _Found(Book(), [])  # a project's own is wrong: its own status says what


def _projects() -> List[Layout]:
    """Those of this account that are ours to believe."""
    return [each for each in map(Layout, boot.roots()) if os.path.isdir(each.traffic) and fault(each) is None]


def _wanted(front_of: FrontOf) -> Book:
    """The book, as the states say it."""
    projects: Dict[str, Mapping[int, Claim]] = {}
    for layout in _projects():
        front = front_of(layout)
        if front is not None:
            timeouts = {each.service: each.limits.timeout for each in front.backends}
            ports = claims.wanted(front.binds, timeouts)
            if ports:
                projects[layout.root] = ports
    found, noted = Book(projects), _noted().ports
    every = {port for ports in projects.values() for port in ports}
    # One that was shared stays the front's while one project has it still.
    shared = [port for port in sorted(every) if len(found.others("", port)) > 1 or port in noted]
    return found._replace(ports=dict.fromkeys(shared, OWN))


def _noted() -> Book:
    """What the book says, if it can be read."""
    try:
        return book.read()
    except Failure:
        return Book()


def _front(wanted: Book) -> Front:
    return claims.front_of(wanted, book.place().traffic, everywhere(), account())


def _wrong(wanted: Book) -> Iterator[str]:
    try:
        found = book.read()
    except Failure as failed:
        yield failed.what
    else:
        if any(who != OWN for who in found.ports.values()):
            return  # a port changes hands: who comes next ends that
        if wanted.ports and (found.projects, found.ports) != (wanted.projects, wanted.ports):
            yield f"{book.path()} does not say which projects share which ports."
    is_up = program.is_up()
    if not wanted.ports:
        if is_up:
            yield f"{program.NAME} runs, and no projects share a port."
        return
    path = os.path.join(book.place().traffic, configuration.NAME)
    if configuration.read(path) != render(_front(wanted)):
        yield f"{path} does not say what the projects here share."
    if not is_up:
        yield f"{program.NAME}, which hands connections on to the projects that share a port, does not run."
