"""Who gets which request: what stands before the programs, as a state has it and while a transaction is under way.

The configuration is written before a word of it is said, and follows from a state alone; so whoever ends a transaction
makes the front what its state says, and may do so again.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, AbstractSet, Callable, Dict, List, Mapping, NamedTuple, Optional

from ..contract import held, roles
from ..contract.failure import REFUSED, Failure
from ..contract.layout import START, Layout
from ..contract.slots import STABLE
from ..contract.state import State
from . import files, peers, public
from .documents import service_of
from .front.account import account
from .front.values import DRAIN, READY, WHOLE, Backend, Bind, Crowd, Far, Front, Route, Server

if TYPE_CHECKING:
    from ..contract.release import FrontedDocument, ReleaseDocument, ServiceDocument, TrafficDocument
    from .front.runtime import Runtime
    from .holds import Holds

_HERE = "127.0.0.1"
NOBODY: AbstractSet[str] = frozenset()


class Entrance(NamedTuple):
    """A service that requests come to, and the release that says so."""

    declared: FrontedDocument
    document: ReleaseDocument


def front_of(
    layout: Layout,
    state: State,
    documents: Mapping[str, ReleaseDocument],
    away: AbstractSet[str] = NOBODY,
) -> Optional[Front]:
    """What stands before the programs of a state; None where nothing does.

    Args:
        documents: release -> release.json, of the state's channels and programs.
        away: programs that take no requests for now. Where a service has no others, its requests are held.
    """
    declared = standing(state, documents)
    return front_by(layout, state, documents, declared, entrances_of(state, documents), away) if declared else None


def standing(state: State, documents: Mapping[str, ReleaseDocument]) -> Optional[TrafficDocument]:
    """What stands before the programs of a state, by its release; None where nothing does."""
    return roles.front(documents, state.channels) if roles.stands_before(state) else None


def entrances_of(state: State, documents: Mapping[str, ReleaseDocument]) -> Dict[str, Entrance]:
    """The services that requests come to, as the release says that serves."""
    declared = standing(state, documents)
    stable = documents.get(state.channels.get(STABLE, ""))
    return {name: Entrance(each, stable) for name, each in declared["services"].items()} if declared and stable else {}


def front_by(
    layout: Layout,
    state: State,
    documents: Mapping[str, ReleaseDocument],
    declared: TrafficDocument,
    entrances: Mapping[str, Entrance],
    away: AbstractSet[str],
) -> Front:
    """What stands before the programs of a state, with the entrances that are asked for."""
    binds, backends = [], []
    admitted = peers.admitted(layout, declared) if "admits" in declared else None
    for name, entrance in sorted(entrances.items()):
        servers = {
            each["program"]: Server(each["program"], each["ports"][0], STABLE, DRAIN)
            for each in roles.slots_of(entrance.document, name).values()
        }
        for called, record in state.programs.items():
            if record.service == name:
                takes = READY if record.is_to_run and called not in away else DRAIN
                # Another lane's release may declare the service without a port.
                for port in service_of(documents, called, record)["ports"][:1]:
                    servers[called] = Server(called, port, record.lane, takes)
        if "behind" in entrance.declared:
            servers = {each.program: each for each in peers.servers(layout, state, declared, name)}
        others = sorted({server.lane for server in servers.values()} - {STABLE})
        ready = any(server.lane == STABLE and server.state == READY for server in servers.values())
        backends.append(
            Backend(
                service=name,
                servers=tuple(servers[called] for called in sorted(servers)),
                shares=tuple((lane, round(_share(lane, state, documents) * WHOLE)) for lane in others),
                mode=entrance.declared["mode"],
                held=not ready,
                hold_seconds=declared["hold"],
                hold_requests=declared["hold_requests"],
                limits=public.limits(entrance.declared),
                far=_far(declared, entrance.declared),
            )
        )
        if admitted:  # first, so that what is handed on after a reload is taken as from there
            binds.append(Bind(entrance.declared["port"], (Route(name),), declared["listen"], peer=admitted))
        at = [_HERE] if admitted else _addresses(declared["listen"])
        binds += [Bind(entrance.declared["port"], (Route(name),), each, inside=True) for each in at]
    binds += public.binds({name: each.declared for name, each in entrances.items()}, challenged="acme" in declared)
    log = roles.keeper(state) is not None
    metrics = declared.get("metrics", 0)
    whom = account()
    user, group = (whom.user, whom.group) if whom else ("", "")
    return Front(layout.traffic, state.project, tuple(binds), tuple(backends), user, group, log, metrics=metrics)


def _far(declared: TrafficDocument, service: FrontedDocument) -> Optional[Far]:
    """How machines are reached that answer for a service; None where programs of this host do."""
    return Far(declared["behind"][service["behind"]]["repeat"]) if "behind" in service else None


def _addresses(declared: str) -> List[str]:
    """Where it listens: others of the project find a service at 127.0.0.1, wherever else it is served."""
    return [declared] if declared in ("0.0.0.0", "::", _HERE) else [declared, _HERE]  # noqa: S104  as declared


def described(state: State, documents: Mapping[str, ReleaseDocument], program: str) -> ServiceDocument:
    """How a program of a state is described; what stands before the others has the ports of the release that serves,
    whichever it was started from.

    Raises:
        Failure: its release is not on the host any more.
    """
    service = service_of(documents, program, state.programs[program])
    declared = standing(state, documents)
    if declared is None or program != roles.stands_before(state):
        return service
    return {**service, "ports": sorted({each["port"] for each in declared["services"].values()})}


def _share(lane: str, state: State, documents: Mapping[str, ReleaseDocument]) -> float:
    """How many of all clients come to a lane beside stable: as was said since, else as its own release says."""
    if lane not in state.channels:
        return 0.0
    declared = documents[state.channels[lane]].get("traffic")
    return state.shares.get(lane, declared["canary"] / 100 if declared else 0.0)


def stage(layout: Layout) -> None:
    """Make what the supervisor starts: a script, because which HAProxy a host has is no release's business.

    Raises:
        Failure: it has none.
    """
    from .front import starting  # of hosts with traffic alone, as all that speaks with HAProxy

    text = starting.script(haproxy(layout), layout.traffic, "What stands before the programs.")
    files.make_folder(layout.traffic, 0o700)
    files.write(os.path.join(layout.traffic, START), text, 0o700)


@lru_cache(maxsize=None)
def haproxy(layout: Layout) -> str:
    """The program.

    Raises:
        Failure: the host has none.
    """
    from .front import program

    try:
        return program.find(layout.haproxies)
    except Failure as failed:
        raise Failure(
            REFUSED,
            f"the target declares traffic, and that takes HAProxy. {failed.what}",
            failed.why,
            'deploy up, which brings one; or traffic = "none" in the target',
        ) from None


def become(layout: Layout, front: Front) -> Front:
    """Let what runs be `front`, and the configuration say so first; it, where it listens now."""
    from .host_front import moving

    return moving.become(layout, front, runtime(layout))


def runtime(layout: Layout) -> Runtime:
    """Who speaks with what runs."""
    from .front.runtime import Runtime

    return Runtime(layout.traffic, haproxy(layout))


def let_go(layout: Layout, front: Front, holds: Holds, tell: Callable[[str, str, str], None]) -> Front:
    """Become `front`, and return it as it is now; say what requests waited for that it holds no longer."""
    still = {each.service for each in front.backends if each.held}
    over = {name: service for name, service in holds.open.items() if service not in still}
    waiting = {service: crowd(layout, service).waiting for service in over.values()}
    placed = become(layout, front)
    for name, service in over.items():
        tell("held", name, held.sentence(holds.end(name, waiting[service], crowd(layout, service))))
    return placed


def crowd(layout: Layout, service: str) -> Crowd:
    """Who waits for a service."""
    from .front.master import Silent

    try:
        return runtime(layout).crowd(service)
    except Silent:  # who waited has gone with it
        return Crowd()
