"""A project as a preview of it: in a folder beside the target's, under names and on ports of its own. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from provision.contract.layout import Layout
from provision.errors import Refused, UsageError
from provision.project.fault import dotted
from provision.project.ports import port_of

if TYPE_CHECKING:
    from provision.project.loaded import LoadedProject
    from provision.project.schema import Project
    from provision.project.service import Service
    from provision.project.target import Target

# Above the ports that Linux gives to connections (ip_local_port_range: 32768 to 60999), and where nobody's canary or
# candidate is, which are 10000 and 20000 above ports that people choose.
_FIRST, _LAST = 61_000, 65_500
_NAME = r"[a-z0-9](-?[a-z0-9]){0,29}"


def judge_name(name: str) -> str:
    """`name`, if it can be a preview's: it is a folder's and a part of program names, which two dashes end.

    Raises:
        UsageError: it can't.
    """
    if not re.fullmatch(_NAME, name):
        raise UsageError(
            f"{name!r} can't be the name of a preview.",
            why="It has at most 30 small letters, digits and single dashes, none at its ends.",
            next_step="deploy up --preview pr-7",
        )
    return name


def ports_of(project: Project, target: Target) -> int:
    """How many ports a preview needs: of each service one a copy, and one each for canary and candidate."""
    return sum(project.copies.get(name, 1) + 2 for name, _ in _with_port(project, target))


def first_port(name: str, size: int, taken: Collection[int], earlier: int | None) -> int:
    """The first of `size` ports in a row: those that the preview had `earlier`, if they will do, else free ones.

    Args:
        taken: what listens on the hosts or may come to listen there, but for the preview's own.

    Raises:
        Refused: there are not so many free ones in a row.
    """
    room = _LAST - _FIRST - size + 1
    begin = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % max(room, 1)  # so that two rarely meet
    tries: list[int] = [] if earlier is None else [earlier]
    tries += (_FIRST + (begin + step) % room for step in range(room))
    for first in tries:
        if first + size - 1 <= _LAST and not any(port in taken for port in range(first, first + size)):
            return first
    raise Refused(
        f"there are no {size} free ports in a row for the preview {name}.",
        why=f"Previews have theirs from {_FIRST} to {_LAST}, on all hosts of the target the same.",
        next_step="deploy status names the previews; deploy down --preview NAME removes one",
    )


def own_ports(project: Project, target: Target) -> set[int]:
    """The ports that the project itself may come to listen on, in every lane."""
    from provision.project.service import Lane

    found = set()
    for name, service in _with_port(project, target):
        for lane in Lane:
            copies = range(1, project.copies_of(name, lane) + 1)
            found |= {port for copy in copies if (port := port_of(service, lane, copy)) is not None}
    return found


def previewed(loaded: LoadedProject, target_name: str, name: str, first: int | None) -> LoadedProject:
    """`loaded` as its preview `name` on a target.

    Args:
        first: its first port; None where none is needed, as to end it.
    """
    project = loaded.project
    target = project.targets[target_name]
    there = target.model_copy(
        update={
            "path": Layout(target.path).preview_of(name).root,
            "name_prefix": f"{target.name_prefix}{project.name}-preview-{name}--",
            "take_over": (),  # what others start there is in its way no more than the project is
            "front": None,
            "traffic": None,  # nobody is there who would meet the moment of change
            "rollout": target.rollout.model_copy(update={"steps": ()}),  # or whose requests would judge anything
            "require": None,  # users never reach it, and what becomes stable there is stable nowhere else
        }
    )
    services, at = dict(project.services), first or 0
    for service_name, service in _with_port(project, target) if first is not None else ():
        copies = project.copies.get(service_name, 1)
        ports = {"port": at, "canary_port": at + copies, "candidate_port": at + copies + 1}
        services[service_name] = service.model_copy(update=ports)
        at += copies + 2
    changed = project.model_copy(update={"targets": {**project.targets, target_name: there}, "services": services})
    return replace(loaded, project=changed)


def strays(project: Project, target: Target) -> Iterator[str]:
    """What would still mean the project itself: places that write a service's port as a number, as sentences."""
    from provision.project.rules.view import service_texts

    ports = {str(service.port): name for name, service in _with_port(project, target)}
    numbers = re.compile(rf"(?<![0-9.])({'|'.join(ports)})(?![0-9.])")
    for name, service in _chosen(project, target):
        for path, text in service_texts(name, service) if ports else ():
            said = " ".join(part for part in text.parts if isinstance(part, str))
            if found := numbers.search(said):
                of = ports[found[1]]
                means = "${port}" if of == name else f"${{services.{of}.port}}"
                yield f"{dotted(path)} says {found[1]}, {of}'s port outside of previews; {means} is right in both"


def _chosen(project: Project, target: Target) -> list[tuple[str, Service]]:
    chosen = project.services if target.services is None else target.services
    return [(name, project.services[name]) for name in sorted(chosen)]


def _with_port(project: Project, target: Target) -> list[tuple[str, Service]]:
    return [(name, service) for name, service in _chosen(project, target) if service.port is not None]
