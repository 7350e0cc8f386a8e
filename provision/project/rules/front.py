"""Rules about one front for many machines."""

from __future__ import annotations

from collections.abc import Iterator

from provision.project.fault import Fault, nearest
from provision.project.fronted import behind, is_fronted, services_behind
from provision.project.rules.view import Sound
from provision.project.sandbox import is_here
from provision.project.target import Target
from provision.project.traffic import mode_of


def _declared(view: Sound) -> Iterator[Fault]:
    for name, target in view.targets.items():
        if target.front is None:
            continue
        path = ("targets", name, "front")
        other = view.targets.get(target.front.target)
        if other is None or other is target:
            hint = nearest(target.front.target, sorted(set(view.targets) - {name}), "targets")
            message = f'no other target is called "{target.front.target}".'
            yield Fault((*path, "target"), message, hint or "Declare it: a small host that all clients reach.")
            continue
        if target.traffic is None:
            hint = f"Add [targets.{name}.traffic]: what stands before its programs admits the front."
            yield Fault(path, f"nothing stands before programs on targets.{name}.", hint, at_key=True)
            continue
        if other.traffic is None or other.provider or not other.can.over_ssh:
            hint = f"Add [targets.{target.front.target}.traffic] to hosts of your own, which stay."
            yield Fault((*path, "target"), "it has no front that could lead elsewhere.", hint)
        elif other.front:
            yield Fault((*path, "target"), "it is behind a front itself.", f"Name targets.{other.front.target}.")
        yield from _services(view, name, target, other)
        yield from _reached(view, name, target)


def _services(view: Sound, name: str, target: Target, other: Target) -> Iterator[Fault]:
    front = target.front.target if target.front else ""
    for service in view.chosen(target):
        base = ("services", service)
        if not is_fronted(target, view.services[service]):
            continue
        if other.runs(service):
            message = f"it runs on targets.{front} as well, which leads to targets.{name} for it."
            hint = f"Leave it out of targets.{front}.services; [] is none."
            yield Fault(("targets", front, "services"), f"{service}: {message}", hint, at_key=True)
        elif mode_of(view.services[service]) != "http":
            message = f"targets.{front} leads to other machines for HTTP alone."
            yield Fault(base, message, f"Give it a check with http, or remove targets.{name}.front.", at_key=True)
        else:
            first = services_behind(view.targets, view.services, other).get(service)
            if first != name and first in behind(view.targets, other) and service in view.chosen(view.targets[first]):
                message = f"targets.{first} and targets.{name} both answer for it behind targets.{front}."
                yield Fault(("targets", name, "front"), message, "Leave it out of one of them.", at_key=True)


def _reached(view: Sound, name: str, target: Target) -> Iterator[Fault]:
    """Its ports are reached from outside the machine."""
    for service, each in view.chosen(target).items():
        opened = target.needs.ports if target.provider and target.needs else None
        if opened is not None and is_fronted(target, each) and each.port not in opened:
            message = f"the front reaches services.{service} at port {each.port}, which no machine opens."
            yield Fault(("targets", name, "needs", "ports"), message, f"Add {each.port}.")
    if is_here(target):
        message = "the sandbox is this machine, which others do not reach."
        yield Fault(("targets", name, "front"), message, "Remove it, or name hosts.", at_key=True)


RULES = (_declared,)
