"""Rules about ports: services of one target share a host, in all lanes at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from provision.project.fault import Fault, Path
from provision.project.ports import port_of
from provision.project.rules.view import Sound
from provision.project.schema import Lane, Service

_KEYS = {Lane.STABLE: "port", Lane.CANARY: "canary_port", Lane.CANDIDATE: "candidate_port"}


def _clashes(view: Sound) -> Iterator[Fault]:
    groups = [view.chosen(target) for target in view.targets.values()] or [dict(view.services)]
    seen: set[Fault] = set()
    for group in groups:
        for fault in _in_group(group):
            if fault not in seen:  # two targets with the same services have the same clash
                seen.add(fault)
                yield fault


def _in_group(services: Mapping[str, Service]) -> Iterator[Fault]:
    # All declared ports first: of two services that want one port, the one that chose it openly is in the right.
    wanted = [(lane, name) for lane in Lane for name in services]
    taken: dict[int, tuple[Lane, str]] = {}
    clashing: set[frozenset[str]] = set()  # two services with the same port clash in every lane: once is enough
    for lane, name in wanted:
        port = port_of(services[name], lane)
        if port is None:
            continue
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
