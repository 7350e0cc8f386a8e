"""What a cluster knows of a project: which release each channel has, what belongs to it by uid, what was begun.

Pure; `book` keeps it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from provision.cluster.kept.routes import KIND
from provision.cluster.server.objects import Member, Name, Node
from provision.errors import Refused

if TYPE_CHECKING:
    from provision.contract.rollout import RolloutNote, RolloutRecord

FORMAT = 1
_FORMAT_OF_SHARES = 2  # of one whose canary has requests, which version 1 would end while they come
_FORMAT_OF_SECRETS = 3  # of one whose pods read Secrets that were made here, which earlier versions would forget
_FORMAT_OF_ROUTES = 4  # of one that has HTTPRoutes, in which earlier versions would change what only an apply may
_HISTORY = 50  # entries
_LARGEST = 512 << 10  # bytes of them: a ConfigMap holds 1 MiB, and verdicts on a hundred services are long
_BESIDE = ("weigh", "rollout")  # kinds of entries that end nothing which was cut short


@dataclass(frozen=True)
class Entry:
    """A transaction that ended."""

    sequence: int
    time: float
    kind: str  # up, promote, rollback, down
    outcome: str
    channel: str
    channels: dict[str, str]
    who: str
    why: str = ""
    rollout: RolloutNote | None = None  # what it did to one
    evidence: tuple[str, ...] = ()  # digests of what allowed it


@dataclass(frozen=True)
class Begun:
    """A transaction that was begun; where nobody holds the lock, it was cut short."""

    kind: str
    channel: str
    release: str
    who: str
    time: float


@dataclass(frozen=True)
class Routed:
    """An HTTPRoute in which the canary has a share, and what is beside it for who sends the header."""

    name: str
    uid: str
    were: tuple[int, ...] = ()  # the weights of stable, before; empty where it was not changed, or is ours
    lane: str = ""  # the uid of the one beside it


@dataclass(frozen=True)
class Inventory:
    """All that is known."""

    generation: int = 0
    channels: dict[str, str] = field(default_factory=dict)  # channel -> id of the release that it has
    members: dict[str, tuple[Member, ...]] = field(default_factory=dict)  # by channel
    begun: Begun | None = None
    degraded: str = ""  # why neither release could be proven
    history: tuple[Entry, ...] = ()
    shares: dict[str, float] = field(default_factory=dict)  # lane -> share of the requests, where it was given one
    rollout: RolloutRecord | None = None
    routes: tuple[Routed, ...] = ()
    copies: dict[str, int] = field(default_factory=dict)  # service -> of a canary whose share goes by copies
    # By channel: a Secret as it is rendered -> the one that was made of it here.
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def format(self) -> int:
        """The oldest version's that does no wrong with it."""
        if any(each.kind == KIND for each in self.every_member):
            return _FORMAT_OF_ROUTES
        if any(self.secrets.values()):
            return _FORMAT_OF_SECRETS
        return _FORMAT_OF_SHARES if self.shares or self.rollout or self.routes or self.copies else FORMAT

    @property
    def every_member(self) -> dict[Name, str]:
        """The uids of all that is ours."""
        return {each.named: each.uid for members in self.members.values() for each in members}

    def ended(
        self,
        kind: str,
        channel: str,
        outcome: str,
        who: str,
        why: str = "",
        note: RolloutNote | None = None,
        evidence: Sequence[str] = (),
    ) -> Inventory:
        """With one more entry of the history, and nothing begun; a share or a step ends nothing that was.

        Args:
            note: what it did to a rollout.
            evidence: digests of what allowed it.
        """
        sequence = self.history[-1].sequence + 1 if self.history else 1
        entry = Entry(
            sequence, time.time(), kind, outcome, channel, dict(self.channels), who, why[:500], note, tuple(evidence)
        )
        begun = self.begun if kind in _BESIDE else None
        return replace(self, begun=begun, history=_newest((*self.history, entry)))

    def left(self, channel: str) -> Begun | None:
        """What was cut short in another channel, which what is done to `channel` does not end; "" is all of them."""
        begun = self.begun
        return begun if begun and channel and begun.channel not in ("", channel) else None

    def degraded_beside(self, channel: str) -> str:
        """Why another channel is degraded, which what is done to `channel` does not mend."""
        return self.degraded if channel and self.degraded_channel != channel else ""

    @property
    def degraded_channel(self) -> str:
        """Of which channel neither release could be proven, the last time that one could not."""
        return next((each.channel for each in reversed(self.history) if each.outcome == "degraded"), "stable")


def _newest(history: Sequence[Entry]) -> tuple[Entry, ...]:
    """As many of the newest as there is room for; the last one always."""
    kept, size = list(history[-1:]), 0
    for entry in reversed(history[-_HISTORY:-1]):
        size += len(json.dumps(asdict(entry)))
        if size > _LARGEST:
            break
        kept.insert(0, entry)
    return tuple(kept)


def _rollout(record: Any) -> RolloutRecord | None:
    """Raises as whoever misreads a value does, where it is none that was written here."""
    if record is None:
        return None
    document = record["document"]
    numbers = [*document["steps"], *document["abort"].values(), document["each"], document["at_most"]]
    numbers += [record[key] for key in ("began", "paused", "since")]
    texts = [*record["services"], *(record[key] for key in ("id", "release", "who", "status", "why"))]
    if not all(isinstance(each, (int, float)) for each in numbers) or not all(isinstance(each, str) for each in texts):
        raise TypeError("the rollout")
    document["steps"][record["step"]]
    return cast("RolloutRecord", record)


def parsed(name: str, node: Node) -> Inventory:
    """What the ConfigMap of that name says.

    Raises:
        Refused: it was written by a newer version, or by nobody of ours.
    """
    try:
        state: dict[str, Any] = json.loads(node["data"]["inventory"])
        if state["format"] > _FORMAT_OF_ROUTES:
            raise Refused(
                f"ConfigMap {name} was written by a newer version of deploy.", next_step="update deploy on this machine"
            )
        return Inventory(
            generation=int(state["generation"]),
            channels={str(channel): str(id_) for channel, id_ in state["channels"].items()},
            members={
                channel: tuple(Member(*map(str, each)) for each in members)
                for channel, members in state["members"].items()
            },
            begun=Begun(**state["begun"]) if state["begun"] else None,
            degraded=str(state["degraded"]),
            history=tuple(
                Entry(**{**entry, "evidence": tuple(map(str, entry.get("evidence", ())))}) for entry in state["history"]
            ),
            shares={str(lane): float(share) for lane, share in state.get("shares", {}).items()},
            rollout=_rollout(state.get("rollout")),
            routes=tuple(Routed(**{**each, "were": tuple(each["were"])}) for each in state.get("routes", ())),
            copies={str(name): int(count) for name, count in state.get("copies", {}).items()},
            secrets={
                str(channel): {str(secret): str(name) for secret, name in names.items()}
                for channel, names in state.get("secrets", {}).items()
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise Refused(
            f"ConfigMap {name} is none that deploy has written: {type(error).__name__} {error}.",
            next_step=f"if it is nobody's: kubectl delete configmap {name}, then: deploy up",
        ) from None
