"""Where users reach what a host serves: an address, or the tunnel that leads there. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from provision.hosts import SANDBOX
from provision.project.ports import port_of

if TYPE_CHECKING:
    from provision.hosts import HostSpec
    from provision.project.service import Service
    from provision.targets.deployment import Deployment

_PORTS = {"http": 80, "https": 443}
_NOWHERE_ELSE: Mapping[str, int] = MappingProxyType({})


class Reached(NamedTuple):
    """How users get to a service.

    Attributes:
        url: where it answers; through a tunnel, once that is open.
        tunnel: the command that opens it; empty where none is needed.
    """

    service: str
    url: str
    tunnel: str = ""


def reached(
    deployment: Deployment, spec: HostSpec, channel: str, slots: Mapping[str, int] = _NOWHERE_ELSE
) -> list[Reached]:
    """How each service with a port is reached on one host; those on demand are left out.

    Args:
        slots: service -> its port, where a program is in a slot of its own: nobody else leads there.
    """
    from provision.project.service import Lane  # heavy, and there by the time that anything is deployed

    services = deployment.loaded.project.services
    several = len(deployment.hosts) > 1
    found = []
    for name, service in services.items():
        port = slots.get(name) or port_of(service, Lane(channel))
        if port is None or service.on_demand:
            continue
        if url := _url(deployment, spec, service, port, channel, only_there=name in slots):
            found.append(Reached(name, url))
        else:
            words = ["deploy", "tunnel", name, *(["--channel", channel] if channel != "stable" else [])]
            declared = deployment.loaded.declaration.values["targets"]
            words += ["--target", deployment.target_name] if len(declared) > 1 else []
            words += ["--host", spec.name] if several else []
            found.append(Reached(name, f"http://127.0.0.1:{port}", shlex.join(words)))
    return found


def _url(deployment: Deployment, spec: HostSpec, service: Service, port: int, channel: str, *, only_there: bool) -> str:
    """Where it is reached without a tunnel; empty where that is nowhere."""
    if [entry.text for entry in deployment.target.hosts] == [SANDBOX]:
        return f"http://127.0.0.1:{port}"  # it shares this machine's network
    if only_there:
        return ""
    if service.proxy and service.proxy.names and channel == "stable":
        from provision.project.rules.proxies import listens_on

        scheme, listens = "https" if service.proxy.speaks_tls else "http", listens_on(service.proxy)
        name = next((name for name in service.proxy.names if "*" not in name), service.proxy.names[0])
        return f"{scheme}://{name}" + (f":{listens}" if listens != _PORTS[scheme] else "")
    if service.expose:
        address = spec.address
        if deployment.target.provider:
            at = deployment.machines.reached(spec, port)
            if at is None:
                return ""
            address, port = at
        address = f"[{address}]" if ":" in address else address
        return f"http://{address}:{port}"
    return ""
