"""Rules about targets: which services, which hosts, what the platform can do."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from provision.project.fault import Fault, nearest
from provision.project.fronted import behind, services_behind
from provision.project.platforms import DEFAULT, IN_CLUSTER, OF_IMAGES, OVER_SSH, those
from provision.project.rules.view import Sound, service_texts
from provision.project.target import Target
from provision.project.template import Template
from provision.project.values import LAST_PORT

# What a deploy would fill with its releases, and what it would then be asked to prune.
_OF_THE_SYSTEM = re.compile(
    r"/(bin|boot|dev|etc|lib|lib32|lib64|libx32|proc|sbin|sys)(/.*)?|/usr(/(bin|games|include|lib.*|sbin|share)(/.*)?)?"
    r"|/(home|media|mnt|opt|root|run|srv|tmp|usr/local|usr/src|var)|/var/(cache|lib|log|mail|run|spool|tmp)"
)
# What two targets differ in that must not share a folder, and what each is where it is not written.
_TELLS_APART: tuple[tuple[str, Any], ...] = (
    ("services", None),
    ("platform", DEFAULT),
    ("name_prefix", ""),
    ("user_units", False),
    ("supervisor_config", None),
)


def _services(view: Sound) -> Iterator[Fault]:
    for name, target in view.targets.items():
        chosen = target.services
        if chosen is None:
            continue
        fronted = services_behind(view.targets, view.services, target)
        if not chosen and not behind(view.targets, target):
            yield Fault(("targets", name, "services"), "no service is named.", "Leave the key out to run all.")
        for index, service in enumerate(chosen):
            if service not in view.declared:
                hint = nearest(service, sorted(view.declared), "services")
                yield Fault(("targets", name, "services", index), f'no service is called "{service}".', hint)
        for needing, needed in sorted(_needs(view, target)):
            if needed in view.declared and needed not in chosen and needed not in fronted:
                message = f'"{needing}" needs "{needed}", which is not among them.'
                yield Fault(("targets", name, "services"), message, f'Add "{needed}".')


def _needs(view: Sound, target: Target) -> set[tuple[str, str]]:
    found = set()
    for name, service in view.chosen(target).items():
        found |= {(name, other) for other in service.after}
        for _, text in service_texts(name, service):
            found |= {(name, ref.name.split(".")[1]) for ref in text.refs if ref.name.startswith("services.")}
    return found


def _hosts(view: Sound) -> Iterator[Fault]:
    for name, target in view.targets.items():
        for index, host in enumerate(target.hosts):
            path = ("targets", name, "hosts", index)
            if host in target.hosts[:index]:
                yield Fault(path, "this host is named twice.", "Name each once.")
            elif message := "" if host.refs else _wrong_host(host):
                yield Fault(path, message, "Expected [user@]host[:port].")


def _wrong_host(host: Template) -> str:
    """What is wrong with one entry, without its text: variables may have given it."""
    if re.match(r"(?!ssh:)[a-z]+://", host.text):
        return "a host is no URL."
    if re.match(r"ssh\s", host.text):
        return "this is a command; of `ssh -p 2222 root@gpu` it is root@gpu:2222."
    user, at, rest = host.text.rpartition("@")
    address, colon, port = re.sub(r"\[[^\[\]]*\]", "x", rest).partition(":")  # ranges and IPv6 have colons of their own
    if not address:
        return "the host is empty once variables are replaced."
    if at and not user:
        return "the user is empty once variables are replaced."
    if re.search(r"\s", host.text):
        return "a host has no blanks."
    if address.startswith("-") or user.startswith("-"):
        return "a host or user cannot begin with a dash."
    if ":" in port:
        return "an IPv6 address stands in brackets: [2001:db8::1]:22."
    if any(int(last) < int(first) for first, last in re.findall(r"\[(\d+):(\d+)\]", host.text)):
        return "the range ends before it begins."
    if colon and not (re.fullmatch(r"[0-9]{1,5}", port) and 1 <= int(port) <= LAST_PORT):
        return f"the port after the host is not a number from 1 to {LAST_PORT}."
    return ""


def _paths(view: Sound) -> Iterator[Fault]:
    for name, target in view.targets.items():
        if target.can.in_cluster:
            continue
        if ".." in target.path.split("/"):
            yield Fault(("targets", name, "path"), 'expected an absolute path without "..".')
        elif _OF_THE_SYSTEM.fullmatch(target.path.rstrip("/")):
            message = "this folder is the system's or everybody's, and a project has one of its own."
            yield Fault(("targets", name, "path"), message, 'Such as path = "/srv/shop".')


def _platform(view: Sound) -> Iterator[Fault]:
    for name, target in view.targets.items():
        base = ("targets", name)
        for key in ("disk",) if target.can.in_cluster else () if target.can.over_ssh else ("disk", "require"):
            if getattr(target, key) is not None:
                message = f"{target.platform} has no hosts on which it could be looked at; {', '.join(OVER_SSH)} do."
                yield Fault((*base, key), message, f"Remove {key}.", at_key=True)
        images = [service.image or target.image or view.image for service in view.chosen(target).values()]
        if target.channel_from and images and all(image and "@" in image for image in images):
            message = "every image here is named by its digest, so no tag is followed."
            yield Fault((*base, "channel_from"), message, "Name one by its tag, or remove channel_from.", at_key=True)
        if target.supervisor_config and not target.can.own_config:
            message = f"{target.platform} does not read it; {those('own_config')} does."
            yield Fault((*base, "supervisor_config"), message, at_key=True)
        if target.take_over and not target.can.on_host:
            message = f"{target.platform} takes over nothing that others start; {those('on_host')} do."
            yield Fault((*base, "take_over"), message, at_key=True)
        for key in ("image", "channel_from"):
            if getattr(target, key) and not (target.can.over_ssh and not target.can.on_host):
                message = f"{target.platform} brings no image to a host; {', '.join(OF_IMAGES)} does."
                yield Fault((*base, key), message, f"Remove {key}, or set platform.", at_key=True)


# What only a place with hosts has, and what only a cluster has.
_OF_HOSTS = (
    *("hosts", "path", "identity", "known_hosts", "sudo", "python", "prepare", "firewall", "traffic", "front"),
    "name_prefix",
)
_OF_CLUSTERS = ("context", "namespace", "kubeconfig", "create_namespace", "gateway")


def _cluster(view: Sound) -> Iterator[Fault]:
    for name, target in view.targets.items():
        without = _OF_HOSTS if target.can.in_cluster else _OF_CLUSTERS
        what = "it has no hosts" if target.can.in_cluster else f"it is no cluster; {those('in_cluster')} is"
        for key in without:
            if key in target.model_fields_set:
                yield Fault(("targets", name, key), f"{target.platform}: {what}.", f"Remove {key}.", at_key=True)


def _gateway(view: Sound) -> Iterator[Fault]:
    for name, target in view.targets.items():
        services = view.chosen(target).values()
        if target.gateway and target.can.in_cluster and not any(service.proxy for service in services):
            hint = 'Add proxy = { names = ["www.example.net"] } to a service.'
            message = "no service here has a proxy, so nothing is routed."
            yield Fault(("targets", name, "gateway"), message, hint, at_key=True)


def _user_units(view: Sound) -> Iterator[Fault]:
    for name, target in view.targets.items():
        base = ("targets", name)
        if target.user_units and not target.can.user_units:
            message = f"{target.platform} has no user units; {those('user_units')} has."
            yield Fault((*base, "user_units"), message, at_key=True)
        if target.user_units and target.sudo:
            hint = "Remove sudo, or user_units."
            yield Fault((*base, "sudo"), "user units belong to the user and need no sudo.", hint, at_key=True)
        for service_name, service in view.chosen(target).items():
            if target.user_units and service.user:
                message = f'the user\'s own systemd (targets.{name}) cannot run it as "{service.user}".'
                yield Fault(("services", service_name, "user"), message, "Remove user, or user_units.")


def _gpus(view: Sound) -> Iterator[Fault]:
    for place, target in view.targets.items():
        if target.gpus is None:
            continue
        for name, service in view.chosen(target).items():
            key = next((key for key in ("gpus", "gpu_fraction") if getattr(service.resources, key)), "vram")
            copies = view.copies.get(name, 1) if target.can.over_ssh else 1
            on_one = math.floor(1 / (service.resources.gpu_fraction or 1))
            asked = math.ceil(copies / on_one) * service.resources.devices
            if asked > target.gpus:
                message = f"it takes {_counted(asked)}, and each host of targets.{place} has {_counted(target.gpus)}."
                hint = f"Leave {name} out of targets.{place}.services, or correct targets.{place}.gpus."
                yield Fault(("services", name, "resources", key), message, hint, at_key=True)


def _counted(gpus: int) -> str:
    return "no GPU" if gpus == 0 else "1 GPU" if gpus == 1 else f"{gpus} GPUs"


def sharing(targets: Mapping[str, Any]) -> Iterator[Fault]:
    """Targets that have one folder of one host, and would each end what the other runs there.

    Args:
        targets: as they are written, so that one that is not asked for, or not sound, counts as well.
    """
    tables = [(name, table) for name, table in targets.items() if isinstance(table, dict) and "path" in table]
    for index, (name, table) in enumerate(tables):
        for other, earlier in tables[:index]:
            both = sorted(_addresses(table) & _addresses(earlier)) if table["path"] == earlier["path"] else []
            key = next(
                (key for key, default in _TELLS_APART if table.get(key, default) != earlier.get(key, default)), ""
            )
            if both and key:
                message = (
                    f"targets.{other} has the same folder on {both[0]} and other {key}: "
                    "a deploy of one would end what the other runs there."
                )
                yield Fault(
                    ("targets", name, "path"), message, "Give each a folder of its own, or make them one target."
                )
    yield from _sharing_a_namespace(targets)


def _sharing_a_namespace(targets: Mapping[str, Any]) -> Iterator[Fault]:
    """The same of clusters: what is in no service of the release is pruned."""
    first: dict[tuple[Any, ...], tuple[str, Any]] = {}
    for name, table in targets.items():
        if not isinstance(table, dict) or table.get("platform") not in IN_CLUSTER:
            continue
        place = tuple(str(table.get(key)) for key in ("kubeconfig", "context", "namespace"))
        other, services = first.setdefault(place, (name, table.get("services")))
        if table.get("services") != services:
            message = (
                f"targets.{other} has the same namespace of the same cluster and other services: "
                "a deploy of one would end what the other runs there."
            )
            yield Fault(("targets", name), message, "Give each a namespace of its own, or make them one target.")


def _addresses(table: Mapping[str, Any]) -> set[str]:
    hosts = table.get("hosts")
    return {str(host).rpartition("@")[2] for host in hosts} if isinstance(hosts, list) else set()


RULES = (_services, _hosts, _paths, _platform, _cluster, _gateway, _user_units, _gpus)
