"""What has to change on a host. Pure: values in, values out; run by the toolkit for `plan`, and by the agent again
under its locks, so that what was shown is what is done.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from .slots import CANARY, CANDIDATE, STABLE, home, services_in
from .state import Program, State

if TYPE_CHECKING:
    from .facts import Seen, ViewFacts
    from .release import ReleaseDocument, ServiceDocument
    from .requests import PlannedStep

# Part of the free memory that a second copy may take: the rest is for the page cache and for what we can't foresee.
_MEMORY_SHARE = 0.9


class Do(str, Enum):
    """What happens to a program."""

    KEEP = "keep"
    START = "start"
    RESTART = "restart"
    INSTALL = "install"  # on demand: described, not started
    REMOVE = "remove"

    def __str__(self) -> str:
        return self.value


class How(str, Enum):
    """How a program that runs is replaced."""

    NOT = ""  # it is not
    BESIDE = "beside"
    IN_PLACE = "in-place"

    def __str__(self) -> str:
        return self.value


class Step(NamedTuple):
    """What happens to one program, how, and why."""

    program: str
    service: str
    lane: str
    slot: str
    do: Do
    how: How = How.NOT
    why: str = ""

    @property
    def changes(self) -> bool:
        """Whether a program is described anew."""
        return self.do not in (Do.KEEP, Do.REMOVE)

    def as_dict(self) -> PlannedStep:
        return {
            "program": self.program,
            "service": self.service,
            "lane": self.lane,
            "do": self.do.value,
            "how": self.how.value,
            "why": self.why,
        }


class HostView(NamedTuple):
    """What was seen on the host, as far as decisions need it. Also the JSON of `facts`, key for key."""

    programs: Mapping[str, Seen]
    manifests: Mapping[str, str]  # name -> sha256 of the manifest on disk, empty if it is missing
    launches: Mapping[str, str]  # name -> launch folder that is current
    listening: Mapping[str, str]  # port -> holder
    memory_available: int
    vram_free: Optional[int] = None

    @classmethod
    def of(cls, facts: ViewFacts) -> HostView:
        """What a host told."""
        return cls(
            facts["programs"],
            facts["manifests"],
            facts["launches"],
            facts["listening"],
            facts["memory_available"],
            facts["vram_free"],
        )

    def as_dict(self) -> ViewFacts:
        return {
            "programs": dict(self.programs),
            "manifests": dict(self.manifests),
            "launches": dict(self.launches),
            "listening": dict(self.listening),
            "memory_available": self.memory_available,
            "vram_free": self.vram_free,
        }

    def running(self, program: str) -> bool:
        return program in self.programs and self.programs[program]["activity"] == "running"

    def memory(self, program: str) -> int:
        """Bytes that a program has now; 0 where that is not known."""
        return self.programs[program]["memory_bytes"] if program in self.programs else 0


class Room(NamedTuple):
    """What is left for second copies, in bytes."""

    memory: int
    vram: Optional[int]  # None where no GPU was seen

    def without(self, memory: int, vram: int) -> Room:
        return Room(self.memory - memory, None if self.vram is None else self.vram - vram)


def decide(
    state: State,
    channels: Mapping[str, str],
    documents: Mapping[str, ReleaseDocument],
    view: HostView,
    rotated: Set[str],
) -> List[Step]:
    """The steps from `state` to `channels` (channel -> release), in start order, removals last.

    Args:
        documents: release.json of every release in `channels`.
        rotated: names of secrets whose value is new.
    """
    steps: List[Step] = []
    wanted: Set[str] = set()
    room = Room(int(view.memory_available * _MEMORY_SHARE), view.vram_free)
    for lane in (CANARY, STABLE):
        if lane not in channels:
            continue
        document = documents[channels[lane]]
        for service in services_in(document, home(lane)):
            wanted.add(service["program"])
            step, room = _step(state, service, lane, document, view, rotated, room)
            steps.append(step)
    for name, program in sorted(state.programs.items()):
        if name not in wanted:
            steps.append(Step(name, program.service, program.lane, program.slot, Do.REMOVE, why="no longer declared"))
    return steps


def _step(
    state: State,
    service: ServiceDocument,
    lane: str,
    document: ReleaseDocument,
    view: HostView,
    rotated: Set[str],
    room: Room,
) -> Tuple[Step, Room]:
    """What happens to one program, and the room that is left then."""
    name = service["program"]
    before = state.programs.get(name)
    why = _why(service, before, view, rotated)
    step = Step(name, service["name"], lane, home(lane), Do.KEEP, why=why)
    if not why:
        return step, room
    if service["on_demand"]:
        return step._replace(do=Do.INSTALL), room
    if before is None or not view.running(name):
        return step._replace(do=Do.START if before is None else Do.RESTART, how=How.IN_PLACE), room
    taken = _memory(service, view)
    reason = _in_place(state, service, lane, document, view, taken, room)
    if reason is None:
        return step._replace(do=Do.RESTART, how=How.BESIDE), room.without(*taken)
    return step._replace(do=Do.RESTART, how=How.IN_PLACE, why=f"{why}; {reason}" if reason else why), room


def _why(service: ServiceDocument, before: Optional[Program], view: HostView, rotated: Set[str]) -> str:
    """Why a program can't be left as it is, or empty."""
    name = service["program"]
    if before is None:
        return "new"
    if before.fingerprint != service["fingerprint"]:
        return "changed"
    news = sorted(set(service["secrets"]) & rotated)
    if news:
        return "secret {} rotated".format(", ".join(news))
    if view.manifests.get(name) != before.manifest_sha256:
        return f"{before.manifest} was changed on the host"
    if view.launches.get(name) != before.launch:
        return "its launcher was changed on the host"
    seen = view.programs.get(name)
    activity = seen["activity"] if seen else "unknown"
    if activity == "unsupervised":
        return "it runs without its supervisor"
    if not service["on_demand"] and activity != "running":
        return f"not running: {(seen and seen['detail']) or activity}"
    return ""


def _memory(service: ServiceDocument, view: HostView) -> Tuple[int, int]:
    """Bytes of memory, and of the GPU's, that a second copy takes."""
    needs = service["needs"]
    memory = max(needs.get("memory_bytes") or 0, view.memory(service["program"]))
    return memory, needs.get("vram_bytes") or 0


def _in_place(
    state: State,
    service: ServiceDocument,
    lane: str,
    document: ReleaseDocument,
    view: HostView,
    taken: Tuple[int, int],
    room: Room,
) -> Optional[str]:
    """Why a program is replaced in place, empty where that is obvious; None where it is proven beside the old one."""
    if service["switch"] == How.IN_PLACE.value:
        return ""
    if not service["ports"]:
        return "it has no port, and two copies might do the same work"
    if lane == CANARY:
        return ""
    absent = [other for other in service["after"] if not view.running(state.having(lane, other) or "")]
    if absent:
        return f"{absent[0]}, which it comes after, does not run yet"
    canary = state.having(CANARY, service["name"])
    if canary and state.programs[canary].fingerprint == service["fingerprint"] and view.running(canary):
        return "its canary proves it"
    beside = (copy for copy in services_in(document, home(CANDIDATE)) if copy["name"] == service["name"])
    held = [port for copy in beside for port in copy["ports"] if str(port) in view.listening]
    if held:
        return f"port {held[0]} of a candidate is taken by {view.listening[str(held[0])]}"
    memory, vram = taken
    if memory > room.memory:
        return f"{memory >> 20} MiB for a second copy are not free"
    if vram and (room.vram is None or vram > room.vram):
        return f"{vram >> 20} MiB of GPU memory for a second copy are not free"
    return None


def candidates(steps: Sequence[Step], documents: Mapping[str, ReleaseDocument], release: str) -> List[ServiceDocument]:
    """The copies that are proven beside what runs, on ports of their own, before they take its place.

    Args:
        release: the one that is brought to stable: nothing else is replaced beside.
    """
    beside = {step.service for step in steps if step.how is How.BESIDE}
    return (
        [copy for copy in services_in(documents[release], home(CANDIDATE)) if copy["name"] in beside] if beside else []
    )
