"""Fetching a model from where it is: what was cut off goes on from there, and what came wrong is found by its pieces.

A digest of the whole alone says which file is meant. So of each piece what came is noted: where the whole is another,
those that the disk does not hold as they came are asked for again; else the source is read a second time, and what
it says otherwise then takes the place of what it said first, until the whole is right.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from typing import TYPE_CHECKING, Callable, Iterator, List, Optional, Tuple

from ..contract.failure import FAILED, Failure
from . import files, models, pieces
from .download import Download
from .source import demand_safe, locked_anew, whose

if TYPE_CHECKING:
    from ..contract.answers import Present
    from ..contract.bringing import FetchModel
    from ..contract.events import Emit
    from ..contract.layout import Layout
    from .lend import Lending

_GROUP = 16  # pieces of a second reading between two looks at the whole


def fetch(
    layout: Layout, request: FetchModel, emit: Emit, stop: Callable[[], None], lending: Optional[Lending] = None
) -> Present:
    """Bring a model here, and give it its name once it is what it should be.

    Args:
        stop: raises where nobody wants it any more.
        lending: what this host lends of it meanwhile; so others may lend to it.

    Raises:
        Failure: it can't be had, or is another; what has arrived of it is kept.
    """
    sha256, name = request["sha256"], request["name"]
    if os.path.isdir(layout.model(sha256)):
        models.give_name(layout, sha256, name)
        return {"event": "result", "present": True}
    if request["url"]:
        demand_safe(request["url"])
    folder = models.receive(layout, sha256)
    for path in (os.path.join(folder, each) for each in os.listdir(folder)):
        if os.path.islink(path):  # no fetch made it
            files.discard(path)
    others = set(os.listdir(folder)) - {pieces.RECORD}
    if len(others) == 1 and name not in others:  # the same content, begun when it was called otherwise
        os.replace(os.path.join(folder, others.pop()), os.path.join(folder, name))
    try:
        return _bring(layout, request, folder, emit, stop, lending)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        what = f"the disk is full, and model {name} has no room: {_give_back(request, folder) >> 20} MiB are missing."
        why = "What has arrived of it is kept: the next run goes on from there."
        raise Failure(FAILED, what, why, "make room, then: deploy up") from None


def _give_back(request: FetchModel, folder: str) -> int:
    """Give back the room of what came last and is no whole piece, as whatever runs here needs some; bytes that lack."""
    size, last = request["bytes"], max(pieces.recorded(folder, request["bytes"]), default=-1)
    with contextlib.suppress(FileNotFoundError):
        os.truncate(os.path.join(folder, request["name"]), min((last + 1) * pieces.piece_of(size), size))
    return size - (pieces.arrived(folder) or 0)


def _bring(
    layout: Layout, request: FetchModel, folder: str, emit: Emit, stop: Callable[[], None], lending: Optional[Lending]
) -> Present:
    sha256, name = request["sha256"], request["name"]
    first = Download(request, folder, emit, stop, lending=lending)
    first.run(first.pieces.missing())
    try:
        return models.accept(layout, sha256, name, emit)
    except models.Damaged as damaged:
        found = damaged.found
        if not request["url"]:
            os.chmod(first.path, 0o644)  # it is brought otherwise, into the same place
            raise
        emit({"event": "warning", "text": f"{damaged.what} Its pieces are looked at one by one."})
    came = first.pieces.done
    for group, is_spoilt in _suspects(first):
        again = Download(request, models.receive(layout, sha256), emit, stop, came)
        os.chmod(again.path, 0o644)  # it was closed, and its folder is ours
        before = {index: came[index] for index in group}
        if not again.run(group) and not is_spoilt:
            continue  # the same as before: so is the whole
        came = again.pieces.done
        for who in sorted(
            {first.lent[index] for index in group if index in first.lent and before[index] != came[index]}
        ):
            emit({"event": "warning", "text": f"{who} lent a piece of {name} that is another at its source."})
        try:
            return models.accept(layout, sha256, name, emit)
        except models.Damaged as still:
            found = still.found
    files.remove_tree(folder)
    raise Failure(
        FAILED,
        f"what {whose(request)} has is not model {name} as it was locked: {found[:16]}…, expected {sha256[:16]}….",
        "It was read a second time, and said the same.",
        locked_anew(request),
    )


def _suspects(first: Download) -> Iterator[Tuple[List[int], bool]]:
    """What may be wrong of a whole that is, by groups, and whether the disk lost it: what is likeliest first."""
    came = first.pieces.done
    spoilt = [index for index, digest in came.items() if digest and _on_disk(first, index) != digest]
    if spoilt:
        yield spoilt, True
    doubted = first.doubted()
    if doubted:
        yield doubted, False
    for some in ([index for index in came if index in first.lent], sorted(came.keys() - first.lent.keys())):
        for begin in range(0, len(some), _GROUP):
            yield some[begin : begin + _GROUP], False


def _on_disk(download: Download, index: int) -> str:
    with files.open_plain(download.path) as stream:
        stream.seek(index * download.pieces.size)
        return hashlib.sha256(stream.read(download.pieces.size)).hexdigest()
