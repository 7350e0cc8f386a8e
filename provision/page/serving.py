"""`deploy ui`: the page, on loopback or a socket, until it is ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from provision.page import assets, listening
from provision.page.app import Page
from provision.page.guard import ENTER, Door
from provision.page.places import Project


class Address(NamedTuple):
    """Where the page is; the URL opens it once."""

    url: str
    socket: str  # empty where it listens on a port
    again: bool  # whether it is for another browser, after one has come


def serve(
    project: Project,
    tell: Callable[[Address], None],
    *,
    port: int | None,
    socket: Path | None,
    allow: Sequence[str] = (),
) -> None:
    """Until Ctrl-C.

    Args:
        tell: called with the address, which opens the page once; and whenever one was used up, with another.
        port: None for the usual one, or any that is free.
        socket: a path to listen at instead.
        allow: verbs that it may run, of `doing.VERBS`.

    Raises:
        UsageError: that can't be listened at.
    """
    with contextlib.ExitStack() as held:
        if socket is not None:
            listener, at, where = held.enter_context(listening.unix(socket)), None, "http://localhost"
        else:
            listener = held.enter_context(contextlib.closing(listening.loopback(port)))
            at = listener.getsockname()[1]
            where = f"http://127.0.0.1:{at}"
        path = str(socket or "")

        def another() -> None:
            tell(Address(f"{where}{ENTER}{door.token()}", path, again=True))

        door = Door(another)
        page = Page(project, allow)
        server = listening.server(page.app(door, at), page.end)
        tell(Address(f"{where}{ENTER}{door.token()}", path, again=False))
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(server.serve(sockets=[listener]))


def curves() -> str:
    """Have what draws curves here; why it can't be had, or nothing."""
    try:
        assets.provide()
    except (OSError, ValueError) as failure:
        return str(failure)
    return ""
