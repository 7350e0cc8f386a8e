"""Where a channel pointed to, and when: kept in the registry, under the tag `CHANNEL.history`.

An index: its annotation holds the moves, signed as a whole, and it points at the latest images, so that no registry
clears away what a rollback needs. A move is written down before it is made, as in a journal; one that did not take
place is recognised by the next, which began where it had begun too. Who may push and has no key can delete all of it or
put an earlier state back, and nothing else: against that stands what this machine saw (`seen`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from provision.errors import Refused, RegistryFailed
from provision.images.promotion.seen import Seen
from provision.images.promotion.signing import NotSigned, PublicKey, SigningKey, unseal
from provision.images.registry.documents import (
    OCI_INDEX,
    Descriptor,
    ImageManifest,
    digest_of,
    read_json,
    read_time,
    written_time,
)
from provision.images.registry.repository import Repository

_TYPE = "application/vnd.bitnet-provision.history.v1+json"
_SIGNED_AS = "application/vnd.bitnet-provision.moves.v1+json"
_MOVES = "bitnet-provision.signed-moves"
_UNSIGNED = "bitnet-provision.moves"  # as earlier versions wrote them
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
    evidence: tuple[str, ...] = ()  # digests of the artifacts that allowed it, and that nothing came after

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "at": written_time(self.at)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Move:
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
    """All signed moves of a channel, oldest first, and the index that they were read from, if there is one."""

    channel: str
    moves: tuple[Move, ...] = ()
    written: ImageManifest | None = None
    number: int = 0  # of the last move, counted since `begun`
    begun: datetime | None = None
    problem: str = ""  # why no move counts; ends the sentence "CHANNEL.history …"
    claimed: tuple[Move, ...] = ()  # what is written there and does not count

    @property
    def tag(self) -> str:
        return history_tag(self.channel)

    def made(self, now: str) -> list[Move]:
        """The moves that took place, if the channel is at `now`."""
        begins = [*(move.old for move in self.moves[1:]), now]
        return [
            move
            for move, following in zip(self.moves, begins, strict=False)
            if following != move.old or move.old == move.new
        ]

    def stood(self, now: str) -> set[str]:
        """Every digest that the channel is known to have stood for."""
        return {digest for move in self.made(now) for digest in (move.old, move.new) if digest}

    def since(self, now: str) -> datetime | None:
        """When the channel came to `now`; None if nobody wrote that down last.

        Where a later move was begun, it may have been made and undone by hand, at any time.
        """
        return self.moves[-1].at if self.moves and self.moves[-1].new == now else None

    def against(self, now: str) -> str:
        """Why nothing more can be written behind it, if the channel is at `now`; empty: nothing speaks against it."""
        if self.problem:
            return f"{self.tag} {self.problem}"
        if now and not self.moves:
            return f"{self.tag} is missing, although {self.channel} stands for something"
        return ""

    @property
    def anew(self) -> History:
        """Nothing, in the place of this one, which is set aside."""
        return History(self.channel, written=self.written)

    def resting_on(self, digest: str) -> dict[str, datetime]:
        """The evidence that moves to `digest` rested on, and when."""
        return {artifact: move.at for move in self.moves if move.new == digest for artifact in move.evidence}

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


def read_history(
    repository: Repository, channel: str, trusted: Sequence[PublicKey], seen: Seen | None = None
) -> History:
    """What is written down of `channel`; its moves if one of `trusted` signed them, and they go on from what was seen.

    Raises:
        RegistryFailed: something else stands there.
    """
    index = repository.find(history_tag(channel))
    known = seen.move(f"{repository}:{channel}") if seen else None
    if index is None:
        return History(channel, problem=f"is gone: this machine knows move {known.number} in it" if known else "")
    try:
        annotations = index.document["annotations"]
        if _MOVES not in annotations:
            claimed = tuple(map(Move.from_json, read_json(annotations[_UNSIGNED])))
            why = "is not signed: an earlier version wrote it, or somebody without a key"
            return History(channel, written=index, problem=why, claimed=claimed)
        history = _signed(repository, channel, index, trusted)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RegistryFailed(
            f"{repository}:{history_tag(channel)} is not a history that this version reads.",
            why=f"{type(error).__name__}: {error}",
            next_step="if nothing else wrote it, update this tool; else put it under another tag",
        ) from None
    if known and not history.problem and not _goes_on(history, known):
        why = f"was put back to an earlier state: this machine knows move {known.number}, of {written_time(known.at)}"
        return History(channel, written=index, problem=why, claimed=history.moves)
    return history


def _signed(repository: Repository, channel: str, index: ImageManifest, trusted: Sequence[PublicKey]) -> History:
    """The history in an index, as far as its signature goes.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    try:
        payload, _ = unseal(index.document["annotations"][_MOVES].encode(), _SIGNED_AS, trusted)
    except NotSigned as error:
        return History(channel, written=index, problem=str(error))
    said = read_json(payload)
    moves = tuple(map(Move.from_json, said["moves"]))
    if (said["repository"], said["channel"]) != (repository.reference.repository, channel):
        why = f"is that of {said['repository']}:{said['channel']}"
        return History(channel, written=index, problem=why, claimed=moves)
    return History(channel, moves, index, int(said["number"]), read_time(said["begun"]))


def _goes_on(history: History, known: Seen.Move) -> bool:
    """Whether the move that is known is one of `history`, as far as that reaches; or all of it is newer."""
    if history.begun and history.begun > known.at:
        return True
    place = known.number - (history.number - len(history.moves)) - 1
    return place < 0 or (place < len(history.moves) and mark(history.moves[place]) == known.mark)


def mark(move: Move) -> str:
    """Tells a move from all others."""
    return digest_of(json.dumps(move.as_json(), sort_keys=True).encode())


def remember(seen: Seen, repository: Repository, history: History) -> None:
    """Let `seen` know the last move."""
    if history.moves:
        last = history.moves[-1]
        seen.saw_move(f"{repository}:{history.channel}", Seen.Move(history.number, mark(last), last.at))


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


def append(repository: Repository, history: History, move: Move, image: ImageManifest, key: SigningKey) -> History:
    """Write `move` down, behind all that `history` has; `demand_unwritten` comes just before. The history then.

    Raises:
        RegistryFailed: the registry did not take it.
    """
    held = [Descriptor(image.media_type, image.digest, len(image.content))]
    held += [item for item in (history.written.children if history.written else []) if item.digest != image.digest]
    moves = (*history.moves, move)
    if history.written and (len(moves) > _FULL or not history.moves):
        # Each promotion reads all of it, and a manifest ends at 4 MiB. What is begun anew is looked at by people alone.
        repository.put(history.written, f"{history.tag}.{move.at:%Y%m%d%H%M%S}")
        moves = moves[-_CARRIED:]
    number, begun = history.number + 1, history.begun or move.at
    said = {
        "repository": repository.reference.repository,
        "channel": history.channel,
        "begun": written_time(begun),
        "number": number,
        "moves": [item.as_json() for item in moves],
    }
    signed = key.seal(_SIGNED_AS, json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).decode()
    index = _index(signed, held[:_KEPT])
    try:
        repository.put(index, history.tag)
    except RegistryFailed as error:
        if error.details.get("status") not in (400, 404):
            raise
        # Somebody cleared an image away, and a registry takes no index that points at nothing.
        index = _index(signed, [item for item in held[:_KEPT] if repository.find(item.digest)])
        repository.put(index, history.tag)
    return History(history.channel, moves, index, number, begun)


def _index(signed: str, held: Sequence[Descriptor]) -> ImageManifest:
    return ImageManifest.write(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "artifactType": _TYPE,
            "manifests": [item.as_json() for item in held],
            "annotations": {_MOVES: signed},
        }
    )
