"""Rules about ports: services of one target share a host, in all lanes at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from provision.project.fault import Fault, Path
from provision.project.ports import port_of
from provision.project.rules.view import Sound
from provision.project.service import Lane, Service
from provision.project.values import LAST_PORT

_KEYS = {Lane.STABLE: "port", Lane.CANARY: "canary_port", Lane.CANDIDATE: "candidate_port"}


def _clashes(view: Sound) -> Iterator[Fault]:
    alone: Mapping[str, int] = {}
    groups = [
        (view.chosen(target), view.copies if target.can.over_ssh else alone)
        for target in view.targets.values()
        if target.traffic is None  # there ports are others: see `traffic`
    ]
    groups = groups if view.targets else [(dict(view.services), alone)]
    seen: set[Fault] = set()
    for group, copies in groups:
        for fault in _in_group(group, copies):
            if fault not in seen:  # two targets with the same services have the same clash
                seen.add(fault)
                yield fault


def _in_group(services: Mapping[str, Service], copies: Mapping[str, int]) -> Iterator[Fault]:
    # All declared ports first: of two services that want one port, the one that chose it openly is in the right.
    wanted = [
        (lane, name, copy)
        for lane in Lane
        for name in services
        for copy in range(1, (copies.get(name, 1) if lane is Lane.STABLE else 1) + 1)
    ]
    wanted.sort(key=lambda each: each[2] > 1)  # and further copies have what is left
    taken: dict[int, tuple[Lane, str]] = {}
    clashing: set[frozenset[str]] = set()  # two services with the same port clash in every lane: once is enough
    for lane, name, copy in wanted:
        port = port_of(services[name], lane, copy)
        if port is None:
            continue
        if copy > 1 and (port in taken or port > LAST_PORT):
            reason = f"is {_called(*taken[port])}" if port in taken else "is no port"
            yield Fault(
                ("services", name, "replicas"),
                f"copy {copy} runs on {port} on a host, which {reason}.",
                "Choose another port: a copy's are the ones after the first's.",
            )
            break
        if port not in taken:
            taken[port] = (lane, name)
            continue
        other_lane, other = taken[port]
        if frozenset((name, other)) in clashing:
            continue
        clashing.add(frozenset((name, other)))
        owner = f"its own {_KEYS[other_lane]}" if other == name else _called(other_lane, other)
        yield _clash(services[name], name, lane, port, owner)


def _clash(service: Service, name: str, lane: Lane, port: int, owner: str) -> Fault:
    key = _KEYS[lane]
    path: Path = ("services", name, key)
    if lane is Lane.STABLE:
        return Fault(path, f"{port} is {owner} too.", "Give each service a port of its own.")
    if getattr(service, key) is not None:
        return Fault(path, f"{port} is {owner} too.", "Choose a free port.")
    message = f"its {lane} runs on {port}, which is {owner}."
    return Fault(("services", name, "port"), message, f"Choose another port, or set {key}.")


def _called(lane: Lane, name: str) -> str:
    return f"the port of services.{name}" if lane is Lane.STABLE else f"the {lane} port of services.{name}"


RULES = (_clashes,)
