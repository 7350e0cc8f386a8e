"""What a host has committed to: channels, programs and their lanes, generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterable, List, Mapping, NamedTuple, Optional, Set, Tuple

from . import failure
from .rollout import has_begun, is_under_way
from .slots import TRAFFIC, home

if TYPE_CHECKING:
    from .peers import PeerDocument
    from .records import HistoryEntry, ProgramDocument, StateDocument
    from .rollout import RolloutRecord


class Program(NamedTuple):
    """One copy of a service under the supervisor."""

    service: str
    lane: str  # the role that it has for now
    slot: str
    release: str  # from which it was started; older than the channel's where it did not change
    launch: str  # name of its launch folder
    fingerprint: str
    on_demand: bool = False
    manifest: str = ""  # file name
    manifest_sha256: str = ""
    secrets: Mapping[str, str] = {}  # name -> version
    devices: Tuple[str, ...] = ()  # the GPUs that it was started with, by uuid
    stopped: bool = False  # on purpose, and until somebody starts it or deploys

    @property
    def is_at_home(self) -> bool:
        """Whether its lane says its slot, as in a place where lanes do not move."""
        return self.slot == home(self.lane)

    @property
    def is_to_run(self) -> bool:
        """Whether it runs without being asked for."""
        return not self.on_demand and not self.stopped

    def as_dict(self) -> ProgramDocument:
        document: ProgramDocument = {
            "service": self.service,
            "lane": self.lane,
            "release": self.release,
            "launch": self.launch,
            "fingerprint": self.fingerprint,
            "on_demand": self.on_demand,
            "manifest": self.manifest,
            "manifest_sha256": self.manifest_sha256,
            "secrets": dict(self.secrets),
        }
        if self.devices:
            document["devices"] = list(self.devices)
        if not self.is_at_home:
            document["slot"] = self.slot
        if self.stopped:
            document["stopped"] = True
        return document


class State(NamedTuple):
    """One project on one host."""

    generation: int = 0
    sequence: int = 0
    platform: str = ""
    channels: Mapping[str, str] = {}  # name -> release
    programs: Mapping[str, Program] = {}
    secrets: Mapping[str, str] = {}  # name -> current version
    version: str = ""  # of the toolkit that wrote it
    project: str = ""  # whose folder it is
    shares: Mapping[str, float] = {}  # lane -> share of the clients, where it is not what its release declares
    peers: Mapping[str, PeerDocument] = {}  # place -> the machine behind this host's front that answers there
    rollout: Optional[RolloutRecord] = None  # that is under way, or the last one while its release is here

    def having(self, lane: str, service: str) -> Optional[str]:
        """The first program of `service` that has `lane`."""
        return next(iter(self.all_having(lane, service)), None)

    def all_having(self, lane: str, service: str) -> List[str]:
        """Every copy of `service` that has `lane`."""
        return [name for name, each in self.programs.items() if (each.lane, each.service) == (lane, service)]

    def releases(self) -> Set[str]:
        """What channels point to, and what programs were started from."""
        return {*self.channels.values(), *(program.release for program in self.programs.values())}

    def as_dict(self) -> StateDocument:
        document: StateDocument = {
            "format": self._format(),
            "generation": self.generation,
            "sequence": self.sequence,
            "platform": self.platform,
            "channels": dict(self.channels),
            "programs": {name: program.as_dict() for name, program in self.programs.items()},
            "secrets": dict(self.secrets),
            "version": self.version,
            "project": self.project,
        }
        if self.shares:
            document["shares"] = dict(self.shares)
        if self.peers:
            document["peers"] = dict(self.peers)
        if self.rollout:
            document["rollout"] = self.rollout
        return document

    def _format(self) -> int:
        """The earliest that says all of it."""
        if self.peers:
            return failure.FORMAT_OF_PEERS
        if self.rollout and is_under_way(self.rollout) and not has_begun(self.rollout):
            return failure.FORMAT_OF_TURNS
        if self.shares or is_under_way(self.rollout):
            return failure.FORMAT_OF_SHARES
        if any(program.service == TRAFFIC for program in self.programs.values()):
            return failure.FORMAT_OF_TRAFFIC
        if any(program.devices or program.slot.isdigit() for program in self.programs.values()):
            return failure.FORMAT_OF_COPIES
        at_home = all(program.is_at_home for program in self.programs.values())
        return failure.FORMAT if at_home else failure.FORMAT_OF_SLOTS


def from_dict(value: StateDocument, where: str = "the state") -> State:
    """The state that `where` holds.

    Raises:
        Failure: it has a format that this version does not read.
    """
    failure.check_format(value, where, max(failure.FORMAT_OF_PEERS, failure.FORMAT_OF_TURNS))
    return State(
        generation=value.get("generation", 0),
        sequence=value.get("sequence", 0),
        platform=value.get("platform", ""),
        channels=value.get("channels", {}),
        programs={name: _program(program) for name, program in value.get("programs", {}).items()},
        secrets=value.get("secrets", {}),
        version=value.get("version", ""),
        project=value.get("project", ""),
        shares=value.get("shares", {}),
        peers=value.get("peers", {}),
        rollout=value.get("rollout"),
    )


def _program(value: ProgramDocument) -> Program:
    """What says no slot has its lane at home, as in all that versions wrote which knew no slots."""
    return Program(
        service=value["service"],
        lane=value["lane"],
        slot=value.get("slot", home(value["lane"])),
        release=value["release"],
        launch=value["launch"],
        fingerprint=value["fingerprint"],
        on_demand=value.get("on_demand", False),
        manifest=value.get("manifest", ""),
        manifest_sha256=value.get("manifest_sha256", ""),
        secrets=value.get("secrets", {}),
        devices=tuple(value.get("devices", ())),
        stopped=value.get("stopped", False),
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
