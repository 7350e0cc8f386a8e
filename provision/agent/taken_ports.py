"""A port that a program is to have is free, or its own, or comes free before it starts; else it is said who has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Mapping, Sequence

from ..contract.failure import REFUSED, Failure
from ..contract.slots import STABLE, TRAFFIC, services_of
from . import listeners, processes
from .supervisors import Supervisor

if TYPE_CHECKING:
    from ..contract.release import ReleaseDocument, ServiceDocument


def front_of(documents: Mapping[str, ReleaseDocument]) -> str:
    """The program that stands before the others; empty where none does."""
    found = (
        service["program"]
        for document in documents.values()
        for service in services_of(document, STABLE)
        if "traffic" in document and service["name"] == TRAFFIC
    )
    return next(found, "")


def demand(
    supervisor: Supervisor, services: Sequence[ServiceDocument], leaving: Sequence[str], front: str = ""
) -> None:
    listening = listeners.listening_inodes()
    held = [service for service in services if any(port in listening for port in service["ports"])]
    if not held:
        return
    names = [*leaving, *(service["program"] for service in held)]
    families, strays = supervisor.families(names), supervisor.strays(names)  # both end before anything starts
    sockets_of = {name: listeners.sockets_of(families[name] | strays[name]) for name in names}
    taken = listeners.sockets_of(supervisor.members_of_theirs(supervisor.theirs(supervisor.taking)))
    left = taken.union(*(sockets_of[name] for name in leaving))
    for service in held:
        for port in service["ports"]:
            if port in listening and not listening[port] & (left | sockets_of[service["program"]]):
                if front and listening[port] & listeners.sockets_of(supervisor.families([front])[front]):
                    raise Failure(
                        REFUSED,
                        f"port {port} of {service['program']} is what its requests come by, and it is told no other.",
                        f"No word of its command or env takes ${{port}} any more, and {front} has that port.",
                        f"write ${{port}} where services.{service['name']} has its number, or give it another port",
                    )
                pids = {pid for pid in processes.pids() if listeners.sockets_of([pid]) & listening[port]}
                theirs = supervisor.theirs_with(pids)
                way = f"stop that, or change services.{service['name']}.port in deploy.toml"
                if service["name"] == TRAFFIC:
                    way = "stop that, or change the port (a service's, or its proxy's), or leave it: traffic = \"none\""
                raise Failure(
                    REFUSED,
                    f"port {port} of {service['program']} is taken by {listeners.holder(port)}"
                    + (f", which {supervisor.kind} starts as {theirs!r}." if theirs else "."),
                    next_step=f'{way}; or, to replace it: take_over = ["{theirs}"] in the target' if theirs else way,
                )
