"""What a host has committed to: channels, programs, generation."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Dict, Iterable, List, Optional, cast

from . import failure

if TYPE_CHECKING:
    from .records import HistoryEntry, StateDocument


@dataclass(frozen=True)
class Program:
    """One copy of a service under the supervisor."""

    service: str
    lane: str
    release: str  # from which it was started; older than the channel's where it did not change
    launch: str  # name of its launch folder
    fingerprint: str
    on_demand: bool = False
    manifest: str = ""  # file name
    manifest_sha256: str = ""
    secrets: Dict[str, str] = field(default_factory=dict)  # name -> version


@dataclass(frozen=True)
class State:
    """One project on one host."""

    generation: int = 0
    sequence: int = 0
    platform: str = ""
    channels: Dict[str, str] = field(default_factory=dict)  # name -> release
    programs: Dict[str, Program] = field(default_factory=dict)
    secrets: Dict[str, str] = field(default_factory=dict)  # name -> current version
    version: str = ""  # of the toolkit that wrote it
    project: str = ""  # whose folder it is

    def as_dict(self) -> StateDocument:
        return cast("StateDocument", dict(asdict(self), format=failure.FORMAT))


def from_dict(value: StateDocument, where: str = "the state") -> State:
    """The state that `where` holds.

    Raises:
        Failure: it has a format that this version does not read.
    """
    failure.check_format(value, where)
    return State(
        generation=value.get("generation", 0),
        sequence=value.get("sequence", 0),
        platform=value.get("platform", ""),
        channels=value.get("channels", {}),
        programs={name: Program(**program) for name, program in value.get("programs", {}).items()},
        secrets=value.get("secrets", {}),
        version=value.get("version", ""),
        project=value.get("project", ""),
    )


def previous(entries: Iterable[HistoryEntry], current: Optional[str], channel: str = "stable") -> Optional[str]:
    """The release that `channel` had before `current`: what a rollback without an argument means.

    A rollback is history too; so after one the answer is the release before the one rolled back to, never the one
    that was just left. What another project did here before this one took over is no way back.
    """
    line: List[str] = []  # the releases one could walk back through, oldest first
    for entry in entries:
        release = entry.get("channels", {}).get(channel)
        if entry.get("taken_from"):
            line.clear()
        if not release or (line and line[-1] == release):
            continue
        if entry.get("kind") == "rollback" and release in line:
            del line[line.index(release) + 1 :]
        else:
            line.append(release)
    if line and line[-1] == current:
        line.pop()
    return line[-1] if line else None
