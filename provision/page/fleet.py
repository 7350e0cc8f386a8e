"""The hosts of a target as rows: what each says, the worst first, those that say the same together. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from provision.page.places import standing
from provision.page.poller import Heard
from provision.rollout import HostStatus, Unreached

if TYPE_CHECKING:
    from provision.contract.facts import Restarted
    from provision.errors import DeployError

# The worst first. Each has a sign, so that nobody needs its colour.
_RANKS = {
    "degraded": ("bad", "✖"),
    "failing": ("bad", "✖"),
    "untrusted": ("bad", "✖"),
    "unreachable": ("bad", "✖"),
    "restarting": ("worn", "▲"),
    "unsupervised": ("worn", "▲"),
    "interrupted": ("worn", "▲"),
    "drifted": ("worn", "▲"),
    "deploying": ("busy", "●"),
    "starting": ("busy", "●"),  # of a cluster
    "unknown": ("none", "…"),
    "stopped": ("none", "■"),
    "nothing": ("none", "○"),
    "serving": ("good", "✔"),
}
_ORDER = {state: number for number, state in enumerate(_RANKS)}
_FULL = 12  # hosts of a target that are each shown with all that they say; of more, those that serve are lines
_FEW = 3  # that say the same need no line above them


@dataclass(frozen=True)
class Program:
    """One program of a host."""

    name: str
    activity: str
    release: str
    memory: int
    detail: str
    kind: str  # good, bad, none


@dataclass(frozen=True)
class Row:
    """One host."""

    id: str
    target: str
    host: str
    state: str
    says: str
    stale: bool  # nothing of it is sure
    at: float  # when it said that
    generation: int = 0
    channels: Mapping[str, str] | None = None
    programs: tuple[Program, ...] = ()
    drift: tuple[str, ...] = ()
    why: str = ""
    next: str = ""
    last: Mapping[str, Any] | None = None  # the last transaction, which may have failed
    served: Mapping[str, Any] | None = None  # the one since which stable serves
    rollout: Mapping[str, Any] | None = None

    @property
    def kind(self) -> str:
        return kind(self.state)

    @property
    def sign(self) -> str:
        return sign(self.state)

    @property
    def group(self) -> tuple[Any, ...]:
        """Those with the same say the same."""
        return (_ORDER[self.state], self.stale, tuple(sorted((self.channels or {}).items())), self.drift, self.says)


@dataclass(frozen=True)
class Group:
    """Hosts that say the same."""

    id: str
    rows: tuple[Row, ...]

    @property
    def first(self) -> Row:
        return self.rows[0]


def kind(state: str) -> str:
    """good, busy, worn, bad or none: what its colour is."""
    return _RANKS[state][0]


def sign(state: str) -> str:
    return _RANKS[state][1]


def mark(*words: str) -> str:
    """An id for HTML of anything."""
    return "x" + hashlib.sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def row(target: str, host: str, heard: Heard, now: float) -> Row:
    """What is known of a host."""
    id_ = mark("host", target, host)
    status = standing(host, heard.value, heard.error)
    if status is None:
        return Row(id_, target, host, "unknown", "being asked", stale=False, at=0.0)
    if isinstance(status, Unreached):
        return _gone(id_, target, host, status.error)
    stale = heard.is_stale(now)
    # Of a host that does not answer any more, what it said last is shown, grey; and why it says nothing since.
    why = heard.error.why if heard.error else _why(status)
    project, state = status.project, status.project["state"]
    if status.state == "untrusted":
        untrusted = project["untrusted"]
        return Row(id_, target, host, "untrusted", untrusted["what"], stale, heard.at, next=untrusted["next"])
    entries: list[Any] = [*project.get("failed", ()), *project["history"]]
    ended = max(entries, key=lambda entry: entry.get("time", 0), default=None)
    stable = state["channels"].get("stable", "")
    return Row(
        id_,
        target,
        host,
        "unreachable" if heard.error else status.state,
        heard.error.what if heard.error else status.says,
        stale,
        heard.at,
        generation=state["generation"],
        channels=state["channels"],
        programs=tuple(_programs(status)),
        drift=tuple(status.drift),
        why=why,
        next=heard.error.next_step if heard.error else status.next,
        last=ended,
        served=_since(project["history"], stable),
        rollout=state.get("rollout"),
    )


def groups(rows: Iterable[Row]) -> list[Group]:
    """The worst first; those that say the same together."""
    found = []
    for key, same in groupby(sorted(rows, key=lambda row: (row.group, row.host)), key=lambda row: row.group):
        members = tuple(same)
        found.append(Group(mark("group", members[0].target, repr(key)), members))
    return found


def is_line(row: Row, hosts: int) -> bool:
    """Whether a line of it will do."""
    return hosts > _FULL and row.state in ("serving", "nothing", "stopped", "unknown")


def has_head(group: Group) -> bool:
    """Whether a line above them says what they have in common."""
    return len(group.rows) > _FEW


def counted(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """State -> how many hosts, the worst first."""
    found: dict[str, int] = {}
    for each in sorted(rows, key=lambda row: _ORDER[row.state]):
        found[each.state] = found.get(each.state, 0) + 1
    return [*found.items()]


def _gone(id_: str, target: str, host: str, error: DeployError) -> Row:
    return Row(id_, target, host, "unreachable", error.what, stale=True, at=0.0, why=error.why, next=error.next_step)


def _why(status: HostStatus) -> str:
    project = status.project
    if holder := project["holder"]:
        return f"{holder.get('who', 'somebody')} is {holder.get('doing', 'deploying')}"
    return project["journal"]["why"] if project["journal"] else ""


def _programs(status: HostStatus) -> Iterable[Program]:
    seen, failing = status.project["view"]["programs"], status.failing
    for name, record in status.project["state"]["programs"].items():
        found = seen.get(name)
        activity = found["activity"] if found else "missing"
        runs = activity in ("running", "unsupervised")
        if record.get("stopped") and not runs:
            activity = "stopped on purpose"
        elif record.get("on_demand") and not runs:
            activity = "on demand"
        detail = found["detail"] if found else ""
        if restarted := found.get("restarted") if found else None:
            detail = f"{detail} {_again(restarted)}".strip()
        yield Program(
            name,
            activity,
            (found.get("release") if found else None) or record["release"],
            found["memory_bytes"] if found else 0,
            detail,
            "bad" if name in failing else "good" if runs else "none",
        )


def _again(restarted: Restarted) -> str:
    """In whole minutes: what differs at each look would be sent at each."""
    times = "once" if restarted["times"] == 1 else f"{restarted['times']} times"
    minutes = int(restarted["ago"] // 60)
    return f"started again {times} within ten minutes, last {minutes or 'less than 1'} min ago"


def _since(history: Sequence[Any], release: str) -> Mapping[str, Any] | None:
    """The transaction that gave stable what it has now."""
    found = None
    for entry in history:
        if entry.get("channels", {}).get("stable") != release:
            found = None
        elif found is None:
            found = entry
    return found
