"""Where a project's HAProxy listens, for who can't see the book: a keeper in a container sees its own project alone.

Whoever sees it notes that beside the configuration, before HAProxy becomes it, and both hold a lock there meanwhile.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Iterator

from ...contract.layout import Layout
from .. import files, stepped
from ..front.values import Front
from . import claims

_NAME = "placed.json"
_LOCK_SECONDS = 60.0


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Nobody else changes what this project's HAProxy is, for as long as somebody honest may take for that."""
    with stepped.alone(layout, _LOCK_SECONDS):
        yield


def note(layout: Layout, front: Front) -> None:
    """Write down what `claims.placed` said."""
    ports = {str(bind.port): bind.own for bind in front.binds if bind.socket}
    path = os.path.join(layout.traffic, _NAME)
    if ports or front.hands_over:
        files.write_json(path, {"ports": ports, "hands_over": front.hands_over}, 0o600)
    else:
        files.discard(path)


def again(layout: Layout, front: Front) -> Front:
    """A front where it was placed last."""
    found = files.read_json(os.path.join(layout.traffic, _NAME)) or {"ports": {}, "hands_over": False}
    binds = [
        bind._replace(socket=claims.socket(bind.port), own=bool(found["ports"][str(bind.port)]))
        if str(bind.port) in found["ports"] and claims.is_shareable(bind)
        else bind
        for bind in front.binds
    ]
    return front._replace(binds=tuple(binds), hands_over=bool(found["hands_over"]))
