"""Who gets what, and how that went: by the state, by what stands before programs, and by what the keeper counted."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Dict, Mapping, Optional

from ..contract import roles, rollout
from ..contract.failure import REFUSED, Failure
from ..contract.layout import Layout
from ..contract.state import State
from . import state as states
from . import stepped, traffic
from .documents import read_documents
from .front.values import DRAIN, WHOLE, Backend, Counted
from .keeper import door, rings

if TYPE_CHECKING:
    from ..contract.answers import Traffic
    from ..contract.seen import Figures, LaneTraffic, RolloutSeen, ServiceTraffic

_MOST_MINUTES = rings.HOURS * 60
_MOST_POINTS = 360
_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def read(layout: Layout, minutes: int, points: int = 0) -> Traffic:
    """All of it.

    Args:
        minutes: the last ones, whose figures are wanted.
        points: how many a lane's series of them may have; none is told otherwise.

    Raises:
        Failure: nothing stands before the programs here.
    """
    state = states.read_state(layout)
    front = traffic.front_of(layout, state, read_documents(layout, state.releases()))
    if front is None:
        what = "nothing stands before the programs here, so nobody counts their requests."
        raise Failure(REFUSED, what, next_step="declare traffic in the target, then: deploy up")
    is_here = roles.keeper(state) is not None
    told = door.ask(layout) if is_here else None  # first: it writes down all that it has counted
    now = time.time()
    since = max(now - 60.0 * min(max(minutes, 1), _MOST_MINUTES), rings.oldest(layout.rings) if is_here else now)
    counted = rings.read(layout.rings, since)
    runtime = traffic.runtime(layout)
    try:
        sessions = runtime.counted()
    except Failure:
        sessions = {}  # it begins anew, or does not run: status says that
    ports = {route.service: bind.port for bind in front.binds if bind.inside for route in bind.routes}
    services: Dict[str, ServiceTraffic] = {}
    for backend in front.backends:
        name = backend.service
        services[name] = {
            "port": ports.get(name, 0),
            "mode": backend.mode,
            "held": runtime.held(name) if sessions else 0,
            "lanes": _lanes(backend, state, sessions.get(name, {}), counted),
        }
    if points > 0:
        _add_series(services, layout.rings, since, now, points)
    return {
        "event": "result",
        "keeper": "here" if told else "silent" if is_here else "none",
        "generation": state.generation,
        "at": now,
        "since": since,
        "services": services,
        "rollout": _rollout(state, told, now),
    }


def _lanes(
    backend: Backend,
    state: State,
    sessions: Mapping[str, Counted],
    counted: Mapping[rings.Key, rings.Counts],
) -> Dict[str, LaneTraffic]:
    lanes: Dict[str, LaneTraffic] = {}
    shares = dict(backend.shares)
    rest = WHOLE - sum(shares.values())
    for server in backend.servers:
        if server.program not in state.programs and server.program not in state.peers:
            continue  # a free slot, or a place without a machine
        lane = lanes.get(server.lane)
        if lane is None:
            seen = _figures(counted.get((backend.service, server.lane)))
            lane = {"share": shares.get(server.lane, rest) / WHOLE, "programs": [], "seen": seen}
            lanes[server.lane] = lane
        now = sessions.get(server.program)
        lane["programs"].append(
            {
                "program": server.program,
                "state": now.state if now else DRAIN,
                "in_flight": now.sessions if now else 0,
            }
        )
    return lanes


def _add_series(services: Mapping[str, ServiceTraffic], folder: str, since: float, now: float, points: int) -> None:
    minutes = max(1, math.ceil((now - since) / 60.0 / min(points, _MOST_POINTS)))
    for (service, lane), counted in rings.series(folder, since, minutes).items():
        if service in services and lane in services[service]["lanes"]:
            services[service]["lanes"][lane]["series"] = [
                {**_figures(counts), "at": minute * 60.0, "seconds": minutes * 60.0}
                for minute, counts in sorted(counted.items())
            ]


def _figures(counts: Optional[rings.Counts]) -> Figures:
    counts = counts or rings.Counts()
    found: Figures = {"requests": counts.requests, "errors": counts.errors, "bytes": counts.bytes}
    first = {name: counts.first_byte.quantile(share) for name, share in _SHARES.items()}
    if counts.first_byte.total:
        found["first_byte"] = {name: value for name, value in first.items() if value is not None}
    if counts.seconds:
        found["tokens_per_second"] = counts.made / counts.seconds
    return found


def _rollout(state: State, told: Optional[door.Told], now: float) -> Optional[RolloutSeen]:
    record = state.rollout
    if record is None:
        return None
    goes_on = record["status"] == rollout.RUNNING
    says = (told["says"] if told else "the keeper does not answer, so no step is taken") if goes_on else record["why"]
    findings = stepped.findings(told["findings"], record) if told else []
    seconds = told.get("seconds") if told else None
    seconds = rollout.seconds(record, now) if seconds is None else seconds
    return {"record": record, "seconds": seconds, "says": says, "findings": findings}
