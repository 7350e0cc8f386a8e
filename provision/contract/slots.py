"""A program is one copy of a service, in a slot of its own: with a name, ports and a launcher that stay.

A lane (stable, canary, candidate) is a role that a program has for now; the state says which program has which. Where
nothing stands before the programs that could move requests from one to another, as today, a lane is at home in a slot:
whoever is to be reached on the service's own port has to be the program that has it.

Slots are named by what stands after the plain name: `api` is the service's first, `api.2` its second, where it is
declared with several copies, `api.canary` its slot `canary`. A release describes what is in each slot. It lists a
lane's programs together, and of a program that is not in the lane's first slot it says the slot; so what versions
wrote that knew no slots is read as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List

if TYPE_CHECKING:
    from .release import ReleaseDocument, ServiceDocument

STABLE = "stable"
CANARY = "canary"
CANDIDATE = "candidate"  # being proven

TRAFFIC = "traffic"  # among services, the program that stands before the others and decides who gets which request
KEEPER = "keeper"  # and the one that is at home with it: counts, and takes the steps of a rollout

FIRST = ""  # the slot of the plain name; programs on demand have only that

_AT_HOME = {STABLE: FIRST}  # lane -> slot; else a slot has the lane's name


def home(lane: str) -> str:
    """The slot whose program has `lane`, in a place where lanes do not move."""
    return _AT_HOME.get(lane, lane)


def numbered(copy: int) -> str:
    """The slot of a service's stable copy, counted from 1."""
    return FIRST if copy == 1 else str(copy)


def named(plain: str, slot: str) -> str:
    """What the program in `slot` is called, where the service's first one is called `plain`."""
    return f"{plain}.{slot}" if slot else plain


def services_in(document: ReleaseDocument, slot: str) -> List[ServiceDocument]:
    """The programs that a release describes in a slot, in the order in which they start; none where it has no such.

    In `FIRST` each service is once.
    """
    lanes = document["lanes"].items()
    return [each for lane, content in lanes for each in content["services"] if slot_of(each, lane) == slot]


def services_of(document: ReleaseDocument, lane: str) -> List[ServiceDocument]:
    """The programs that a release describes for a lane: every copy, in the order in which they start."""
    content = document["lanes"].get(lane)
    return content["services"] if content else []


def slot_of(service: ServiceDocument, lane: str) -> str:
    """Where a program is that a release describes for `lane`."""
    return service.get("slot", home(lane))


def stable_names(document: ReleaseDocument) -> Dict[str, str]:
    """What each check of a service is called, in any lane and slot -> what it is called in the first: ports differ."""
    first = {each["name"]: each for each in services_in(document, FIRST)}
    return {
        check["name"]: own["name"]
        for lane in document["lanes"].values()
        for each in lane["services"]
        if each["name"] in first
        for check, own in zip(each["checks"], first[each["name"]]["checks"])
    }
