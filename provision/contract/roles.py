"""Which programs have a lane of a service that traffic comes to. Pure.

What stands before them decides who gets which request. So a lane is no place: each slot of such a service has a port of
its own, and a release describes all of them alike. A new program is proven in a free slot, then has the role of the old
one; a canary that is promoted stays where it is. Nothing starts twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from .slots import KEEPER, STABLE, TRAFFIC, services_of
from .state import State

if TYPE_CHECKING:
    from .release import ReleaseDocument, ServiceDocument, TrafficDocument


def is_fronted(document: ReleaseDocument, service: str) -> bool:
    """Whether requests to a service come through what stands before its programs."""
    return "traffic" in document and service in document["traffic"]["services"]


def slots_of(document: ReleaseDocument, service: str) -> Dict[str, ServiceDocument]:
    """The slots of a service that traffic comes to, and what a release has in each, whichever lane it is."""
    lanes = document["lanes"].values()
    found = [each for lane in lanes for each in lane["services"] if each["name"] == service]
    return {each["slot"]: each for each in sorted(found, key=lambda each: int(each["slot"] or 1))}


def having(document: ReleaseDocument, state: State, lane: str) -> List[ServiceDocument]:
    """The programs that have a lane, as a release describes them.

    Of a service that traffic comes to that is for the state to say, of any other for the release.
    """
    fronted = {
        each["program"]: each
        for name in document.get("traffic", {"services": {}})["services"]
        for each in slots_of(document, name).values()
    }
    found = [each for each in services_of(document, lane) if not is_fronted(document, each["name"])]
    return found + [fronted[name] for name, each in state.programs.items() if each.lane == lane and name in fronted]


def front(documents: Mapping[str, ReleaseDocument], channels: Mapping[str, str]) -> Optional[TrafficDocument]:
    """What stands before the programs, by the release that serves; None where nothing does."""
    document = documents.get(channels.get(STABLE, ""))
    return document.get("traffic") if document else None


def cast(
    state: State, channels: Mapping[str, str], lanes: Sequence[Tuple[str, ReleaseDocument]], running: Set[str]
) -> Dict[Tuple[str, str], List[ServiceDocument]]:
    """By lane and service, the program for each of its copies: one that is there already, else a free slot.

    Those that are as described come first, then those that have the lane. What has a lane that goes away may have
    another one.

    Args:
        lanes: what each is to be, the last one chooses first.
        running: the programs that run.
    """
    found: Dict[Tuple[str, str], List[ServiceDocument]] = {}
    taken: Set[str] = set()
    for lane, document in reversed(lanes):
        numbers: Dict[str, int] = {}
        for service in services_of(document, lane):
            if is_fronted(document, service["name"]):
                numbers[service["name"]] = numbers.get(service["name"], 0) + 1
        for name, number in numbers.items():
            slots = slots_of(document, name)
            ranked = []
            for each in slots.values():
                record = state.programs.get(each["program"])
                if record and each["program"] not in taken and (record.lane == lane or record.lane not in channels):
                    same = record.fingerprint == each["fingerprint"] and each["program"] in running
                    ranked.append((not same, record.lane != lane, int(each["slot"] or 1), each))
            chosen = [each for *_, each in sorted(ranked, key=lambda ranked: ranked[:3])][:number]
            free = [each for each in slots.values() if each["program"] not in {*state.programs, *taken}]
            chosen += free[: number - len(chosen)]
            taken |= {each["program"] for each in chosen}
            found[lane, name] = chosen
    return found


def spare(document: ReleaseDocument, service: str, taken: Set[str]) -> Optional[ServiceDocument]:
    """A slot in which a new program of a service can be proven beside the old one."""
    free = (each for each in slots_of(document, service).values() if each["program"] not in taken)
    return next(free, None)


def is_ours(document: ReleaseDocument, service: ServiceDocument) -> bool:
    """Whether it is no service of the project's, but what stands before them, or is at home with that."""
    return "traffic" in document and service["name"] in (TRAFFIC, KEEPER)


def stands_before(state: State) -> Optional[str]:
    """The program through which requests come; None where there is none."""
    return next((name for name, record in state.programs.items() if record.service == TRAFFIC), None)


def keeper(state: State) -> Optional[str]:
    """The program that counts requests and takes the steps of a rollout; None where earlier versions deployed."""
    if stands_before(state) is None:
        return None
    return next((name for name, record in state.programs.items() if record.service == KEEPER), None)
