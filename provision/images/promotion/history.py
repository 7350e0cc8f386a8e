"""Where a channel pointed to, and when: kept in the registry, under the tag `CHANNEL.history`.

An index: its annotation holds the moves, and it points at the latest images, so that no registry clears away what a
rollback needs. A move is written down before it is made, as in a journal. So no move is ever missing; one that did not
take place is recognised by the next, which began where it had begun too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from provision.errors import Refused, RegistryFailed
from provision.images.registry.documents import OCI_INDEX, Descriptor, Manifest, read_json, read_time, written_time
from provision.images.registry.repository import Repository

_TYPE = "application/vnd.bitnet-provision.history.v1+json"
_MOVES = "bitnet-provision.moves"
_KEPT = 5  # images that the index holds on to; registries look each one up
_FULL, _CARRIED = 500, 50  # moves: so many are set aside under a tag of their own, and so many stay in both
PUSH, PROMOTE, ROLLBACK = "push", "promote", "rollback"


@dataclass(frozen=True)
class Move:
    """One change of a channel."""

    kind: str  # PUSH, PROMOTE or ROLLBACK
    old: str  # digest, or empty where the channel was new
    new: str
    at: datetime  # in UTC, to the second
    who: str
    where: str
    evidence: tuple[str, ...] = ()  # digests of the artifacts that allowed it

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "at": written_time(self.at)}

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Move:
        """Of its JSON form.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        at = read_time(value["at"])
        evidence = tuple(map(str, value.get("evidence", ())))
        kind, old, new, who, where = (str(value[name]) for name in ("kind", "old", "new", "who", "where"))
        return cls(kind, old, new, at, who, where, evidence)


@dataclass(frozen=True)
class History:
    """All moves of a channel, oldest first, and the index that they were read from, if there is one."""

    channel: str
    moves: tuple[Move, ...] = ()
    written: Manifest | None = None

    @property
    def tag(self) -> str:
        return history_tag(self.channel)

    def made(self, now: str) -> list[Move]:
        """The moves that took place, if the channel is at `now`."""
        begins = [*(move.old for move in self.moves[1:]), now]
        return [move for move, following in zip(self.moves, begins, strict=False) if following != move.old]

    def stood(self, now: str) -> set[str]:
        """Every digest that the channel is known to have stood for."""
        return {digest for move in self.made(now) for digest in (move.old, move.new) if digest}

    def since(self, now: str) -> datetime | None:
        """When the channel came to `now`; None if nobody wrote that down."""
        made = self.made(now)
        return made[-1].at if made and made[-1].new == now else None

    def previous(self, now: str) -> str:
        """What the channel was at before `now`; empty if that is not known.

        A rollback takes back the moves since its digest was there, so that the next one goes further back.
        """
        passed: list[str] = []
        for move in self.made(now):
            if move.kind == ROLLBACK and move.new in passed:
                del passed[passed.index(move.new) + 1 :]
                continue
            # A digest that no move brought was put there by somebody else.
            passed += [digest for digest in (move.old, move.new) if digest and passed[-1:] != [digest]]
        while passed and passed[-1] == now:
            passed.pop()
        return passed[-1] if passed else ""


def history_tag(channel: str) -> str:
    return f"{channel}.history"


def read_history(repository: Repository, channel: str) -> History:
    """What is written down of `channel`.

    Raises:
        RegistryFailed: something else stands there.
    """
    history = History(channel)
    index = repository.find(history.tag)
    if index is None:
        return history
    try:
        moves = tuple(map(Move.read, read_json(index.document["annotations"][_MOVES])))
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryFailed(
            f"{repository}:{history.tag} is not a history that this version reads.",
            why=f"{type(error).__name__}: {error}",
            next_step="if nothing else wrote it, update this tool; else put it under another tag",
        ) from None
    return History(channel, moves, index)


def demand_unwritten(repository: Repository, history: History) -> None:
    """Go on only if nobody wrote since `history` was read.

    Raises:
        Refused: somebody else wrote meanwhile.
    """
    known = history.written.digest if history.written else ""
    if repository.digest(history.tag) != known:
        raise Refused(
            f"somebody else is moving {repository}:{history.channel}.",
            why="Its history changed since it was read.",
            next_step="look at what they did, then try again",
        )


def append(repository: Repository, history: History, move: Move, image: Manifest) -> None:
    """Write `move` down, behind all that `history` has; `demand_unwritten` comes just before.

    Raises:
        RegistryFailed: the registry did not take it.
    """
    held = [Descriptor(image.media_type, image.digest, len(image.content))]
    held += [item for item in (history.written.children if history.written else []) if item.digest != image.digest]
    moves = [*history.moves, move]
    if history.written and len(moves) > _FULL:
        # Each promotion reads all of it, and a manifest ends at 4 MiB.
        repository.put(history.written, f"{history.tag}.{move.at:%Y%m%d%H%M%S}")
        moves = moves[-_CARRIED:]
    try:
        repository.put(_index(moves, held[:_KEPT]), history.tag)
    except RegistryFailed as error:
        if error.details.get("status") not in (400, 404):
            raise
        # Somebody cleared an image away, and a registry takes no index that points at nothing.
        left = [item for item in held[:_KEPT] if repository.find(item.digest)]
        repository.put(_index(moves, left), history.tag)


def _index(moves: Sequence[Move], held: Sequence[Descriptor]) -> Manifest:
    return Manifest.write(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "artifactType": _TYPE,
            "manifests": [item.as_json() for item in held],
            "annotations": {_MOVES: json.dumps([move.as_json() for move in moves], separators=(",", ":"))},
        }
    )
