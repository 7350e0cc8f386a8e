"""What has to change on a host. Pure: values in, values out; run by the toolkit for `plan`, and by the agent again
under its locks, so that what was shown is what is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from . import devices, roles
from .devices import Seats
from .host_view import HostView
from .slots import CANARY, CANDIDATE, STABLE, home, services_in, services_of, slot_of
from .state import Program, State
from .steps import Do, How, Step

if TYPE_CHECKING:
    from .release import ReleaseDocument, ServiceDocument

# Part of the free memory that a second copy may take: the rest is for the page cache and for what we can't foresee.
_MEMORY_SHARE = 0.9


class Room(NamedTuple):
    """What is left for second copies, in bytes, and which GPUs."""

    memory: int
    vram: Optional[int]  # None where no GPU was seen
    seats: Seats = Seats({}, {})

    def without(self, memory: int, vram: int) -> Room:
        return self._replace(memory=self.memory - memory, vram=None if self.vram is None else self.vram - vram)


def decide(
    state: State,
    channels: Mapping[str, str],
    documents: Mapping[str, ReleaseDocument],
    view: HostView,
    rotated: Set[str],
    moves: str = STABLE,
) -> List[Step]:
    """The steps from `state` to `channels` (channel -> release), in start order, removals last.

    Args:
        documents: release.json of every release in `channels`.
        rotated: names of secrets whose value is new.
        moves: the lane that a release is brought to: what was stopped on purpose in another one stays so.
    """
    steps: List[Step] = []
    lanes = [(lane, documents[channels[lane]]) for lane in (CANARY, STABLE) if lane in channels]
    places = _places(state, channels, lanes, view)
    # What serves chooses first.
    wants = [devices.want(each) for lane, _ in reversed(lanes) for each in places[lane]]
    seats = devices.assign([want for want in wants if want is not None], _held(state), view.gpus)
    room = Room(int(view.memory_available * _MEMORY_SHARE), view.vram_free, seats)
    taken = {*state.programs, *(each["program"] for lane, _ in lanes for each in places[lane])}
    replaced: Dict[str, str] = {}
    for lane, document in lanes:
        for service in places[lane]:
            before = state.programs.get(service["program"])
            if before and before.stopped and before.lane == lane != moves:
                steps.append(
                    Step(service["program"], service["name"], lane, before.slot, Do.KEEP, devices=before.devices)
                )
                continue
            spare = roles.spare(document, service["name"], taken) if _is_fronted(document, service) else None
            step, room = _step(state, service, lane, document, view, rotated, room, spare)
            if spare is not None and step.how is How.BESIDE:
                # It is not tried and started again: the proven one stays.
                replaced[step.program] = spare["program"]
                taken.add(spare["program"])
                step = step._replace(
                    program=spare["program"], slot=slot_of(spare, lane), do=Do.START, devices=step.trial, trial=()
                )
            steps.append(step)
    done = {step.program for step in steps}
    for name, program in sorted(state.programs.items()):
        if name not in done:
            why = f"replaced by {replaced[name]}" if name in replaced else "no longer declared"
            steps.append(Step(name, program.service, program.lane, program.slot, Do.REMOVE, why=why))
    return steps


def _places(
    state: State, channels: Mapping[str, str], lanes: Sequence[Tuple[str, ReleaseDocument]], view: HostView
) -> Dict[str, List[ServiceDocument]]:
    """The programs of each lane, in start order; of a service that traffic comes to, those that have the role."""
    filled = roles.cast(state, channels, lanes, {name for name in state.programs if view.running(name)})
    places: Dict[str, List[ServiceDocument]] = {}
    for lane, document in lanes:
        left = {name: list(each) for (of, name), each in filled.items() if of == lane}
        places[lane] = []
        for service in services_of(document, lane):
            if _is_fronted(document, service):
                places[lane] += [left[service["name"]].pop(0)] if left[service["name"]] else []
            else:
                places[lane].append(service)
    return places


def _is_fronted(document: ReleaseDocument, service: ServiceDocument) -> bool:
    return roles.is_fronted(document, service["name"])


def _held(state: State) -> Dict[str, Tuple[str, ...]]:
    return {name: program.devices for name, program in state.programs.items() if program.devices}


def _step(
    state: State,
    service: ServiceDocument,
    lane: str,
    document: ReleaseDocument,
    view: HostView,
    rotated: Set[str],
    room: Room,
    spare: Optional[ServiceDocument],
) -> Tuple[Step, Room]:
    """What happens to one program, and the room that is left then.

    Args:
        spare: the slot of a new one that would have its role.
    """
    name = service["program"]
    before = state.programs.get(name)
    given = room.seats.taken.get(name, ())
    why = _why(service, before, view, rotated, given)
    step = Step(name, service["name"], lane, slot_of(service, lane), Do.KEEP, why=why, devices=given)
    if not why:
        was = before.lane if before else lane
        return step._replace(why="" if was == lane else f"it was {was}"), room
    if service["on_demand"]:
        return step._replace(do=Do.INSTALL), room
    if before is None or not view.running(name):
        first = before is None or before.stopped
        return step._replace(do=Do.START if first else Do.RESTART, how=How.IN_PLACE), room
    taken, wanted = _memory(service, view), devices.want(service)
    trial, left = devices.beside(wanted, room.seats, _held(state), view.gpus or ()) if wanted else ((), room.seats)
    short = wanted is not None and len(trial) < wanted.number
    reason = _in_place(state, service, lane, document, view, taken, room, spare, short_of_gpus=short)
    if reason is None:
        step = step._replace(do=Do.RESTART, how=How.BESIDE, trial=trial)
        return step, room.without(*taken)._replace(seats=left)
    return step._replace(do=Do.RESTART, how=How.IN_PLACE, why=f"{why}; {reason}" if reason else why), room


def _why(
    service: ServiceDocument, before: Optional[Program], view: HostView, rotated: Set[str], given: Sequence[str]
) -> str:
    """Why a program can't be left as it is, or empty."""
    name = service["program"]
    if before is None:
        return "new"
    if before.fingerprint != service["fingerprint"]:
        return "changed"
    news = sorted(set(service["secrets"]) & rotated)
    if news:
        return "secret {} rotated".format(", ".join(news))
    changed = changed_there(name, before, view)
    if changed:
        return changed
    if before.devices != tuple(given):
        lost = devices.lost(before.devices, view.gpus or ())
        return f"{', '.join(map(devices.short, lost))} is gone" if lost else "it gets GPUs of its own"
    seen = view.programs.get(name)
    activity = seen["activity"] if seen else "unknown"
    if activity == "unsupervised":
        return "it runs without its supervisor"
    if before.stopped:
        return "it was stopped on purpose"
    if not service["on_demand"] and activity != "running":
        return f"not running: {(seen and seen['detail']) or activity}"
    return ""


def changed_there(name: str, committed: Program, view: HostView) -> str:
    """What of a program's files is not as the last transaction left it, or empty."""
    if view.manifests.get(name) != committed.manifest_sha256:
        return f"{committed.manifest} was changed on the host"
    if view.launches.get(name) != committed.launch:
        return "its launcher was changed on the host"
    return ""


def _memory(service: ServiceDocument, view: HostView) -> Tuple[int, int]:
    """Bytes of memory, and of the GPU's, that a second copy takes."""
    needs = service["needs"]
    memory = max(needs.get("memory_bytes") or 0, view.memory(service["program"]))
    # Whoever is given GPUs is given those that have the room.
    return memory, 0 if devices.want(service) else needs.get("vram_bytes") or 0


def _in_place(
    state: State,
    service: ServiceDocument,
    lane: str,
    document: ReleaseDocument,
    view: HostView,
    taken: Tuple[int, int],
    room: Room,
    spare: Optional[ServiceDocument],
    *,
    short_of_gpus: bool,
) -> Optional[str]:
    """Why a program is replaced in place, empty where that is obvious; None where it is proven beside the old one."""
    if service["switch"] == How.IN_PLACE.value:
        return ""
    if not service["ports"]:
        return "it has no port, and two copies might do the same work"
    against = _against_slot if _is_fronted(document, service) else _against_candidate
    reason = against(state, service, lane, document, view, spare)
    if reason is not None:
        return reason
    memory, vram = taken
    if memory > room.memory:
        return f"{memory >> 20} MiB for a second copy are not free"
    if vram and (room.vram is None or vram > room.vram):
        return f"{vram >> 20} MiB of GPU memory for a second copy are not free"
    if short_of_gpus:
        return "no GPU is free for a second copy"
    return None


def _against_slot(
    _state: State,
    _service: ServiceDocument,
    _lane: str,
    _document: ReleaseDocument,
    view: HostView,
    spare: Optional[ServiceDocument],
) -> Optional[str]:
    """Why no new program can have its role, as far as slots go."""
    if spare is None:
        return "its other slots are taken"
    held = [port for port in spare["ports"] if str(port) in view.listening]
    return f"port {held[0]} of {spare['program']} is taken by {view.listening[str(held[0])]}" if held else None


def _against_candidate(
    state: State,
    service: ServiceDocument,
    lane: str,
    document: ReleaseDocument,
    view: HostView,
    _spare: Optional[ServiceDocument],
) -> Optional[str]:
    """Why it can't be tried as a candidate, and then take the old one's place."""
    if slot_of(service, lane) != home(STABLE):
        return ""  # a canary is on trial itself; of several copies the first is tried for all
    absent = [other for other in service["after"] if not _run(state.all_having(lane, other), view)]
    if absent:
        return f"{absent[0]}, which it comes after, does not run yet"
    canary = state.having(CANARY, service["name"])
    if canary and state.programs[canary].fingerprint == service["fingerprint"] and view.running(canary):
        return "its canary proves it"
    beside = (copy for copy in services_in(document, home(CANDIDATE)) if copy["name"] == service["name"])
    held = [port for copy in beside for port in copy["ports"] if str(port) in view.listening]
    if held:
        return f"port {held[0]} of a candidate is taken by {view.listening[str(held[0])]}"
    return None


def _run(programs: Sequence[str], view: HostView) -> bool:
    """Whether every copy of a service runs, and there is one."""
    return bool(programs) and all(view.running(each) for each in programs)


def candidates(steps: Sequence[Step], documents: Mapping[str, ReleaseDocument], release: str) -> List[ServiceDocument]:
    """The copies that are proven beside what runs, on ports of their own, before they take its place.

    Args:
        release: the one that is brought to stable: nothing else is replaced beside.
    """
    beside = {step.service for step in steps if step.how is How.BESIDE}
    return (
        [copy for copy in services_in(documents[release], home(CANDIDATE)) if copy["name"] in beside] if beside else []
    )
