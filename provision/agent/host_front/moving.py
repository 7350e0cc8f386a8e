"""How a port of a project's becomes one of the host's front, and what becomes of that afterwards.

The project that has the port listens for the front besides; the front starts with the very sockets at which it listens
(`expose-fd`), so that no connection is between the two; then the project leaves the port to it. Whoever comes meanwhile
is answered by either. What was begun and cut is ended by the next one who looks: forward where the front runs, else
back.
"""

from __future__ import annotations

import os
import time
from typing import Callable, Dict, List, Mapping, Optional

from ...contract.failure import FAILED, REFUSED, Failure
from ...contract.layout import Layout
from .. import files
from ..front.account import account
from ..front.render import HANDED_OVER
from ..front.runtime import Runtime
from ..front.values import Front
from ..guard import fault, refusal
from ..public import everywhere
from . import book, claims, placed, program
from .book import OWN, Book

_QUIET_SECONDS = 30.0
_SHORT_SECONDS = 5.0  # a step of a rollout takes less
_POLL = 0.05

FrontOf = Callable[[Layout], Optional[Front]]  # what a project's front is, by its committed state
RuntimeOf = Callable[[Layout], Runtime]


def become(layout: Layout, front: Front, runtime: Runtime) -> Front:
    """Let a project's HAProxy be `front`, where it listens now, which is returned; `join` has strangers come there."""
    if not book.is_in_sight():
        with placed.locked(layout):
            now = placed.again(layout, front)
            runtime.become(now)
            return now
    with book.locked():
        return _become(layout, claims.placed(book.read(), layout.root, front), runtime)


def _become(layout: Layout, front: Front, runtime: Runtime) -> Front:
    with placed.locked(layout):
        placed.note(layout, front)
        runtime.become(front)
    return front


def shared(layout: Layout, wanted: Mapping[int, book.Claim], front_of: FrontOf) -> List[int]:
    """Those of the ports that a project shares, or is about to share, with others of this account.

    Raises:
        Failure: it can't.
    """
    found = book.read()
    ports = claims.demand(found, layout.root, wanted)
    if ports:
        _demand_within_reach(layout)
    if found.ports:
        program.demand_sight(found.platform, layout.root)
    for root in _whose(found, layout.root, ports).values():
        _demand_quiet(Layout(root), front_of, _SHORT_SECONDS)
    return ports


def join(
    layout: Layout,
    front: Front,
    platform: str,
    settings: Mapping[str, object],
    haproxy: str,
    front_of: FrontOf,
    runtime_of: RuntimeOf,
) -> None:
    """Let strangers come to a project by its names: its HAProxy is `front` already.

    Args:
        settings: how it reaches its supervisor, which starts the host's front if there is none.
        haproxy: that of the project.

    Raises:
        Failure: they can't; then all is as before.
    """
    with book.locked():
        before = _ended(book.read(), front_of, runtime_of)
        timeouts = {each.service: each.limits.timeout for each in front.backends}
        wanted = claims.wanted(front.binds, timeouts)
        claims.demand(before, layout.root, wanted)
        after = before.having(layout.root, wanted)
        whose = _whose(before, layout.root, list(wanted))
        if not whose:
            _write(before, after)
            return
        for root in set(whose.values()):
            _demand_quiet(Layout(root), front_of, _QUIET_SECONDS)
        begun = before._replace(ports={**before.ports, **whose}, platform=before.platform or platform)
        after = begun._replace(projects=after.projects)
        book.write(begun)
        try:
            for root in set(whose.values()):
                place(begun, root, front_of, runtime_of)
            values = claims.front_of(after, book.place().traffic, everywhere(), account())
            if before.ports:
                program.runtime().become(values)
            else:
                giver = Layout(next(iter(whose.values())))
                program.start(values, haproxy, platform, settings, giver.traffic, after.projects)
        except (Failure, OSError):
            _back(begun, front_of, runtime_of)
            raise
        _forward(after, front_of, runtime_of)


def leave(layout: Layout, front_of: FrontOf, runtime_of: RuntimeOf) -> None:
    """A project wants no port any more. The last one takes the host's front with it. May be repeated."""
    if not os.path.isdir(book.place().private):
        return
    with book.locked():
        before = book.read()
        _write(before, _ended(before, front_of, runtime_of).without(layout.root))


def _write(before: Book, after: Book) -> None:
    """Keep it, and let the host's front be what follows; a port that nobody wants is nobody's."""
    ports = {port: who for port, who in after.ports.items() if after.others("", port)}
    after = after._replace(ports=ports, platform=after.platform if ports else "")
    if before.ports and not ports:
        program.stop(before.platform)
    if after != before:
        book.write(after)
    if ports:
        program.runtime().become(claims.front_of(after, book.place().traffic, everywhere(), account()))


def _whose(found: Book, root: str, ports: List[int]) -> Dict[int, str]:
    """Those that another project has by itself, and who."""
    others = {port: sorted(found.others(root, port)) for port in ports if port not in found.ports}
    return {port: roots[0] for port, roots in others.items() if roots}


def _demand_quiet(layout: Layout, front_of: FrontOf, seconds: float) -> None:
    """It can be told to leave a port: nothing of it is under way.

    Raises:
        Failure: it can't.
    """
    _demand_within_reach(layout)
    wrong = fault(layout)
    if wrong is not None:
        raise refusal(layout.root, wrong)
    until = time.monotonic() + seconds
    while os.path.exists(layout.journal):
        if time.monotonic() > until:
            what = f"the project in {layout.root}, whose port is to be shared, is being changed, or was not to the end."
            raise Failure(REFUSED, what, next_step="wait for it, or end that there: deploy unlock; then: deploy up")
        time.sleep(_POLL)
    if front_of(layout) is None:
        raise Failure(FAILED, f"the project in {layout.root} has a port, and nothing stands before its programs.")


def _demand_within_reach(layout: Layout) -> None:
    """The account that the front becomes gets to the project's socket.

    Raises:
        Failure: a folder on the way is closed to it.
    """
    folder = layout.private
    while account() is not None and folder != "/":
        if os.path.isdir(folder) and not os.stat(folder).st_mode & 0o001:
            what = (
                f"{folder} lets nobody else through, and what hands connections on to {layout.root} is another account."
            )
            raise Failure(REFUSED, what, next_step="chmod o+x there, or another `path` for the target in deploy.toml")
        folder = os.path.dirname(folder)


def _ended(found: Book, front_of: FrontOf, runtime_of: RuntimeOf) -> Book:
    """The book, once what was cut is ended."""
    if not any(found.ports.values()):
        return found
    (_forward if program.is_up() else _back)(found, front_of, runtime_of)
    return book.read()


def _forward(found: Book, front_of: FrontOf, runtime_of: RuntimeOf) -> None:
    """The host's front has its ports: those that had them leave them to it."""
    movers = set(found.ports.values()) - {OWN}
    after = claims.settled(found)
    for root in movers:
        place(after, root, front_of, runtime_of)
        files.discard(os.path.join(Layout(root).traffic, HANDED_OVER))
    book.write(after)  # last: until then whoever looks does all of it again


def _back(found: Book, front_of: FrontOf, runtime_of: RuntimeOf) -> None:
    """Those that have their ports still, keep them."""
    movers = set(found.ports.values()) - {OWN}
    ports = {port: who for port, who in found.ports.items() if who == OWN}
    if not ports:
        program.stop(found.platform)
    after = found._replace(ports=ports, platform=found.platform if ports else "")
    book.write(after)
    if ports:
        program.runtime().become(claims.front_of(after, book.place().traffic, everywhere(), account()))
    for root in movers:
        place(after, root, front_of, runtime_of)


def place(found: Book, root: str, front_of: FrontOf, runtime_of: RuntimeOf) -> None:
    """Let a project listen where the book says."""
    layout = Layout(root)
    front = front_of(layout)
    if front is not None:
        _become(layout, claims.placed(found, root, front), runtime_of(layout))
