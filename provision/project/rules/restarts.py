"""Rules about what a platform has of its own way: when a program is started again, and the group it runs as."""

from __future__ import annotations

from collections.abc import Iterator

from provision.project.fault import Fault
from provision.project.platforms import PLATFORMS, Abilities, those
from provision.project.rules.view import Sound
from provision.project.sandbox import SANDBOX
from provision.project.service import Service


def _reached(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        said = service.restart
        delay, limit, window = said.starts
        if said.model_fields_set - {"on"} and delay * (limit - 1) >= window:
            message = f"{limit} starts, {delay:g} s apart, never fall into {window:g} s, so nothing would end them."
            yield Fault(("services", name, "restart"), message, "Choose a longer window, or a lower limit.")
        if said.on == "always" and service.batch:
            yield Fault(("services", name, "restart", "on"), "a batch that ended has ended.", "Remove on, or batch.")


def _known(view: Sound) -> Iterator[Fault]:
    for place, target in view.targets.items():
        if all(host.parts == (SANDBOX,) for host in target.hosts):
            continue  # there things are tried, whatever they run under elsewhere
        for name, service in view.chosen(target).items():
            for key, why in without(service, target.can):
                message = f"{target.platform} (targets.{place}) {why}."
                hint = f"Remove it, or leave {name} out of targets.{place}.services."
                yield Fault(("services", name, "restart", key), message, hint, at_key=True)
            if service.group and not target.can.groups:
                message = (
                    f"{target.platform} (targets.{place}) gives an account its own; {those('groups')} do otherwise."
                )
                yield Fault(("services", name, "group"), message, "Remove it.", at_key=True)


def _groups(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        if service.group and not service.user:
            yield Fault(("services", name, "group"), "it has no account of its own.", "Add user.", at_key=True)


def without(service: Service, can: Abilities) -> Iterator[tuple[str, str]]:
    """Each key that `restart` of a service has and a platform has not, and what it does instead."""
    said = service.restart
    once = service.batch and not can.on_host
    has = set(can.restart) if not once else {"limit"} if can.tries else set()
    for key in (key for key in ("on", "delay", "limit", "window") if getattr(said, key) is not None):
        if key not in has:
            others = [name for name, each in PLATFORMS.items() if key in each.restart and each.over_ssh]
            yield key, f"has a way of its own, and {' and '.join(others)} what you say"
        elif key == "limit" and said.on == "always" and not can.limits_always:
            yield key, 'counts failures alone, so it has none with on = "always"'


RULES = (_reached, _known, _groups)
