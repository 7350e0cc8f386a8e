"""What has to change on a host. Pure: values in, values out; run by the toolkit for `plan`, and by the agent again
under its locks, so that what was shown is what is done.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional, Set

from .state import Program, State

# Part of the free memory that a second copy may take: the rest is for the page cache and for what we can't foresee.
_MEMORY_SHARE = 0.9

KEEP = "keep"
START = "start"
RESTART = "restart"
INSTALL = "install"  # an on-demand program: described, not started
REMOVE = "remove"

BESIDE = "beside"
IN_PLACE = "in-place"


@dataclass(frozen=True)
class Step:
    """What happens to one program, how, and why."""

    program: str
    service: str
    lane: str
    do: str
    how: str = ""
    why: str = ""

    def as_dict(self) -> Dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class View:
    """What was seen on the host, as far as decisions need it. Also the JSON of `facts`, key for key."""

    programs: Dict[str, Dict[str, Any]]  # name -> {"activity", "pid", "detail", "memory_bytes"}
    manifests: Dict[str, str]  # name -> sha256 of the manifest on disk, empty if it is missing
    launches: Dict[str, str]  # name -> launch folder that is current
    listening: Dict[str, str]  # port -> holder
    memory_available: int
    vram_free: Optional[int] = None

    def running(self, program: str) -> bool:
        return self.programs.get(program, {}).get("activity") == "running"


def decide(
    state: State,
    channels: Dict[str, str],
    documents: Dict[str, Dict[str, Any]],
    view: View,
    rotated: Set[str],
) -> List[Step]:
    """The steps from `state` to `channels` (channel -> release), in start order, removals last.

    Args:
        documents: release.json of every release in `channels`.
        rotated: names of secrets whose value is new.
    """
    steps: List[Step] = []
    wanted: Set[str] = set()
    room = [int(view.memory_available * _MEMORY_SHARE), view.vram_free]
    for lane in ("canary", "stable"):
        if lane not in channels:
            continue
        for service in documents[channels[lane]]["lanes"][lane]["services"]:
            wanted.add(service["program"])
            steps.append(_step(state, service, lane, documents[channels[lane]], view, rotated, room))
    for name, program in sorted(state.programs.items()):
        if name not in wanted:
            steps.append(Step(name, program.service, program.lane, REMOVE, why="no longer declared"))
    return steps


def _step(
    state: State,
    service: Dict[str, Any],
    lane: str,
    document: Dict[str, Any],
    view: View,
    rotated: Set[str],
    room: List[Any],
) -> Step:
    name = service["program"]
    before = state.programs.get(name)
    why = _why(service, before, view, rotated)
    if not why:
        return Step(name, service["name"], lane, KEEP)
    if service["on_demand"]:
        return Step(name, service["name"], lane, INSTALL, why=why)
    if before is None or not view.running(name):
        return Step(name, service["name"], lane, START if before is None else RESTART, IN_PLACE, why)
    how, reason = _how(state, service, lane, document, view, room)
    return Step(name, service["name"], lane, RESTART, how, f"{why}; {reason}" if reason else why)


def _why(service: Dict[str, Any], before: Optional[Program], view: View, rotated: Set[str]) -> str:
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
    seen = view.programs.get(name, {})
    if seen.get("activity") == "unsupervised":
        return "it runs without its supervisor"
    if not service["on_demand"] and seen.get("activity") != "running":
        return "not running: {}".format(seen.get("detail") or seen.get("activity", "unknown"))
    return ""


def _how(
    state: State, service: Dict[str, Any], lane: str, document: Dict[str, Any], view: View, room: List[Any]
) -> Any:
    """Beside or in place, and the reason where it is not the obvious one."""
    if service["switch"] == IN_PLACE:
        return IN_PLACE, ""
    if not service["ports"]:
        return IN_PLACE, "it has no port, and two copies might do the same work"
    if lane == "canary":
        return IN_PLACE, ""
    absent = [other for other in service["after"] if not view.running(_sibling(document, lane, other)["program"])]
    if absent:
        return IN_PLACE, f"{absent[0]}, which it comes after, does not run yet"
    canary = _sibling(document, "canary", service["name"])
    seen = state.programs.get(canary["program"]) if canary else None
    if seen is not None and seen.fingerprint == service["fingerprint"] and view.running(canary["program"]):
        return IN_PLACE, "its canary proves it"
    candidate = _sibling(document, "candidate", service["name"])
    taken = [port for port in candidate["ports"] if str(port) in view.listening]
    if taken:
        return IN_PLACE, f"port {taken[0]} of a candidate is taken by {view.listening[str(taken[0])]}"
    memory = max(
        service["needs"].get("memory_bytes") or 0, view.programs.get(service["program"], {}).get("memory_bytes") or 0
    )
    if memory > room[0]:
        return IN_PLACE, f"{memory >> 20} MiB for a second copy are not free"
    vram = service["needs"].get("vram_bytes") or 0
    if vram and (room[1] is None or vram > room[1]):
        return IN_PLACE, f"{vram >> 20} MiB of GPU memory for a second copy are not free"
    room[0] -= memory
    if vram:
        room[1] -= vram
    return BESIDE, ""


def _sibling(document: Dict[str, Any], lane: str, service: str) -> Dict[str, Any]:
    return next((item for item in document["lanes"][lane]["services"] if item["name"] == service), {})
