"""A program is one copy of a service, in a slot of its own: with a name, ports and a launcher that stay.

A lane (stable, canary, candidate) is a role that a program has for now; the state says which program has which. Where
nothing stands before the programs that could move requests from one to another, as today, a lane is at home in a slot:
whoever is to be reached on the service's own port has to be the program that has it.

Slots are named by what stands after the plain name: `api` is the service's first, `api.canary` its slot `canary`.
A release describes what is in each slot. It calls the slots by the lanes that are at home there, as versions did that
knew no slots, and whose releases and states are read as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List

if TYPE_CHECKING:
    from .release import ReleaseDocument, ServiceDocument

STABLE = "stable"
CANARY = "canary"
CANDIDATE = "candidate"  # being proven

FIRST = ""  # the slot of the plain name; programs on demand have only that

_AT_HOME = {STABLE: FIRST}  # lane -> slot; else a slot has the lane's name


def home(lane: str) -> str:
    """The slot whose program has `lane`, in a place where lanes do not move."""
    return _AT_HOME.get(lane, lane)


def named(plain: str, slot: str) -> str:
    """What the program in `slot` is called, where the service's first one is called `plain`."""
    return f"{plain}.{slot}" if slot else plain


def services_in(document: ReleaseDocument, slot: str) -> List[ServiceDocument]:
    """The programs that a release describes in a slot, in the order in which they start; none where it has no such."""
    for lane, content in document["lanes"].items():
        if home(lane) == slot:
            return content["services"]
    return []


def stable_names(document: ReleaseDocument) -> Dict[str, str]:
    """What each check of a service is called, in any lane -> what it is called in the stable one: ports differ."""
    stable = {each["name"]: each for each in document["lanes"][STABLE]["services"]}
    return {
        check["name"]: own["name"]
        for lane in document["lanes"].values()
        for each in lane["services"]
        if each["name"] in stable
        for check, own in zip(each["checks"], stable[each["name"]]["checks"])
    }
