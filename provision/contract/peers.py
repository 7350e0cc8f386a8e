"""Machines behind one front, as the host that has it knows them. Pure.

Each has a place of the front's own, which stays while the machine does; another machine may have it afterwards. A
machine is known by its certificate, which was read over the connection of a deploy: it, and no other, is believed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, Literal, Mapping, TypedDict

from .failure import REFUSED, Failure

if TYPE_CHECKING:
    from .release import TrafficDocument

FRONT = "front"  # stands in the name for whoever leads to them
SPARE = 2  # places besides those of a target's machines: one may be told of before another is known to be gone


class MachineDocument(TypedDict):
    """One that requests may be passed on to."""

    host: str  # as who deploys calls it
    address: str
    ports: Dict[str, int]  # service -> where it is reached at that address
    certificate: str  # PEM


class PeerDocument(MachineDocument):
    """The same, in its place."""

    takes: bool  # requests; else what it has begun goes on, and nothing new comes


class Introduce(TypedDict):
    """Say who this host is to the other end of a front: its certificate, which is made where there is none."""

    op: Literal["introduce"]
    name: str  # that it is for
    admits: str  # PEM: who is let in where this host is behind a front; empty where it has that front


class _ChangePeers(TypedDict):
    op: Literal["peers"]
    target: str  # whose machines they are
    services: List[str]  # that they answer for
    enter: List[MachineDocument]  # they take requests from now on
    drain: List[str]  # hosts that are about to be changed: nothing new, unless no other takes any
    rest: List[str]  # hosts that take nothing new, whatever the others do
    leave: List[str]  # hosts that are known no more


class ChangePeers(_ChangePeers, total=False):
    """Which machines answer behind this host's front."""

    only: List[str]  # all hosts that there are: others are known no more


def tls_name(project: str, target: str) -> str:
    """What the certificates of a target's hosts are for: a name of nobody's (RFC 9476 keeps `internal` apart)."""
    return f"{target}.{project}.internal"


def place(target: str, number: int) -> str:
    """What a place is called, which is also a server's name."""
    return f"{target}.{number}"


def is_of(place_: str, target: str) -> bool:
    """Whether a place is one of a target's machines."""
    return place_.rpartition(".")[0] == target


def changed(
    before: Mapping[str, PeerDocument], asked: ChangePeers, traffic: TrafficDocument
) -> Dict[str, PeerDocument]:
    """The places as they are to be.

    The last machine that takes requests goes on to do so where it is only to be replaced: what stands before its own
    programs lets nobody down, and here all would have to wait.

    Raises:
        Failure: the front's release knows of no such machines or services, or all places are taken.
    """
    target = asked["target"]
    declared = traffic.get("behind", {}).get(target)
    known = {name for name, each in traffic["services"].items() if each.get("behind") == target}
    if declared is None or set(asked["services"]) - known:
        what = f"what is deployed here knows nothing of these machines of targets.{target}."
        raise Failure(REFUSED, what, "Its release is of before deploy.toml said so.")
    after = dict(before)
    mine = {name: each for name, each in before.items() if is_of(name, target)}
    for name, each in mine.items():
        gone = each["host"] in asked["leave"] or each["host"] not in asked.get("only", [each["host"]])
        if gone:
            del after[name]
        elif each["host"] in asked["rest"] or (each["host"] in asked["drain"] and _others_do(after, target, name)):
            after[name] = {**each, "takes": False}
    for machine in asked["enter"]:
        after[_place_for(machine["host"], after, target, declared["places"])] = {**machine, "takes": True}
    return after


def _others_do(peers: Mapping[str, PeerDocument], target: str, but: str) -> bool:
    """Whether others take requests for all that one of them is led to for."""
    others = [each for name, each in peers.items() if is_of(name, target) and name != but and each["takes"]]
    return bool(others) and set(peers[but]["ports"]) <= {service for each in others for service in each["ports"]}


def _place_for(host: str, peers: Mapping[str, PeerDocument], target: str, places: int) -> str:
    """Its own, else a free one, else that of one that takes nothing."""
    names = [place(target, number) for number in range(1, places + 1)]
    own = [name for name in peers if is_of(name, target) and peers[name]["host"] == host]
    free = [name for name in names if name not in peers]
    idle = [name for name in names if name in peers and not peers[name]["takes"]]
    found = [*own, *free, *idle]
    if not found:
        what = f"all {places} places for machines of targets.{target} are taken here."
        raise Failure(REFUSED, what, next_step=f"deploy machine watch --once --target {target}")
    return found[0]
