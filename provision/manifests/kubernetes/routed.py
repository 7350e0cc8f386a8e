"""What a Gateway is told of a service with a `proxy`, and what of that only a proxy does (Gateway API v1, "HTTPRoute").

A listener of the Gateway has ports and certificates, and who runs it has limits; a route says which names lead where.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provision.manifests.containers import Containers
    from provision.project.schema import Project
    from provision.project.service import Service
    from provision.project.target import Target

# Keys of a proxy -> who has to say it instead.
_OTHERS = {
    **dict.fromkeys(("certificate", "certificate_key", "tls"), "its listener has the certificate"),
    "port": "its listener says the port",
    **dict.fromkeys(("rate", "connections", "body"), "it has no such limit; a policy of whoever runs it may"),
    **dict.fromkeys(
        ("timeout", "connect_timeout", "send_timeout"), "it is told no limit, and one that it has itself stays"
    ),
    **dict.fromkeys(("upstreams", "weights"), "it leads to the pods"),
    "canary": "deploy up --channel canary --weight gives one its share",
}


@dataclass(frozen=True)
class Doors:
    """Pods that pass requests on: all of a namespace; else those here that say which Gateway they are of."""

    namespace: str | None
    gateway: str


@dataclass(frozen=True)
class Route:
    """Which requests lead to a service, as a template may use it."""

    gateway: str
    namespace: str | None  # of the Gateway; None for the project's own
    listener: str | None
    names: tuple[str, ...]  # of hosts; empty for every one that its listener takes
    headers: Mapping[str, str]  # added to answers


def doors(places: Containers, service: Service) -> Doors | None:
    """Who has to reach a service for its route."""
    gateway = places.target.gateway
    if gateway is None or service.proxy is None:
        return None
    return Doors(gateway.pods_in or gateway.namespace, gateway.name)


def route(places: Containers, name: str) -> Route | None:
    """The route of a service; None where it has no proxy, or the target no Gateway."""
    gateway, proxy = places.target.gateway, places.project.services[name].proxy
    if gateway is None or proxy is None:
        return None
    return Route(gateway.name, gateway.namespace, gateway.listener, proxy.names, proxy.headers)


def left_to_others(project: Project, target: Target | None) -> Iterator[tuple[str, str]]:
    """What services declare of a proxy that no route says: the key, and a sentence."""
    if target is None or target.gateway is None:
        return
    for name, service in project.services.items():
        if service.proxy is None or not target.runs(name):
            continue
        for key, who in _OTHERS.items():
            if key in service.proxy.model_fields_set:
                yield f"services.{name}.proxy.{key}", f"a Gateway is not told this: {who}"
