"""nginx in front of services: a server for each that declares `proxy`."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from pathlib import Path

from provision.errors import UsageError
from provision.manifests.templates import render
from provision.manifests.value import Value
from provision.project.fronted import is_fronted
from provision.project.networks import authority
from provision.project.parts import Proxy
from provision.project.ports import port_of
from provision.project.rules.proxies import HTTP, listens_on, proxy_before
from provision.project.schema import Project
from provision.project.service import Lane, Service
from provision.project.target import Target


@dataclass(frozen=True)
class Header:
    """One header of every answer."""

    name: str
    value: Value


@dataclass(frozen=True)
class Server:
    """A host that runs the service."""

    address: str  # with its port
    weight: int  # its share of the requests, beside the others'


@dataclass(frozen=True)
class Site:
    """What the template of a service may use, as `site`."""

    project: str
    service: str
    key: str  # begins the names of upstreams, variables and zones: PROJECT_SERVICE
    names: tuple[str, ...]  # host names; empty for every name
    port: int
    tls: bool
    redirects: bool  # whether port 80 leads to TLS here
    certificate: str
    certificate_key: str
    stable: tuple[Server, ...]
    canary: tuple[Server, ...]  # empty where no client is to see it
    canary_percent: int
    health: str  # a path that is neither limited nor logged
    metrics: str  # a path that is nobody's but the monitoring's; empty for none
    timeout_seconds: int
    connect_seconds: int
    send_seconds: int
    has_names: bool  # whether a host is called by name, which nginx looks up
    body_bytes: int
    rate: int | None  # a second
    burst: int
    connections: int | None
    headers: tuple[Header, ...]
    own_hsts: bool  # whether Strict-Transport-Security is among them


def site(project: Project, name: str, proxy: Proxy, *, fronted: bool = False) -> Site:
    """The facts of the server in front of service `name`.

    Args:
        fronted: whether the hosts' own HAProxy gets its requests, and decides who comes to a canary.
    """
    service = project.services[name]
    tls = proxy.certificate is not None
    return Site(
        project=project.name,
        service=name,
        key=f"{project.name}_{name}".replace("-", "_"),
        names=proxy.names,
        port=listens_on(proxy),
        tls=tls,
        redirects=tls and not any(_takes_80(project, name, other) for other in project.services),
        certificate=proxy.certificate or "",
        certificate_key=proxy.certificate_key or "",
        stable=_servers(service, proxy, Lane.STABLE),
        canary=_servers(service, proxy, Lane.CANARY) if proxy.canary and not fronted else (),
        canary_percent=0 if fronted else proxy.canary or 0,
        health=health_path(service),
        metrics=service.metrics.path if service.metrics else "",
        timeout_seconds=math.ceil(proxy.timeout),
        connect_seconds=math.ceil(proxy.connect_timeout),
        send_seconds=math.ceil(proxy.send_timeout),
        has_names=not all(map(_is_address, proxy.upstreams)),
        body_bytes=proxy.body,
        rate=proxy.rate,
        burst=2 * (proxy.rate or 0),
        connections=proxy.connections,
        headers=tuple(
            Header(header, Value(f"services.{name}.proxy.headers.{header}", (value,)))
            for header, value in sorted(proxy.headers.items())
        ),
        own_hsts="strict-transport-security" in map(str.lower, proxy.headers),
    )


def files(project: Project, target: Target | None, root: Path) -> dict[str, str]:
    """What nginx includes. See `provision.platforms.face.Face.files`."""
    chosen = target.services if target and target.services is not None else tuple(project.services)
    proxies = {
        name: (service, service.proxy)
        for name, service in sorted(project.services.items())
        if service.proxy and name in chosen
    }
    sites = [
        site(project, name, proxy, fronted=target is not None and is_fronted(target, service))
        for name, (service, proxy) in proxies.items()
        if target is None or proxy_before(target, service) is None
    ]
    if alone := next((each.service for each in sites if proxies[each.service][1].tls), None):
        raise UsageError(
            f'services.{alone}.proxy has tls = "auto", and nginx gets no certificate by itself.',
            next_step="give it certificate and certificate_key, or render for a target with traffic (--target)",
        )
    if proxies and not sites:
        raise UsageError(
            f"nginx stands before none of {', '.join(proxies)} there: the target's traffic does, which is HAProxy.",
            next_step='deploy up brings it; or traffic = "none" in the target',
        )
    if not sites:
        raise UsageError(
            "no service declares a proxy.",
            why="nginx stands in front of those that do.",
            next_step='add [services.NAME.proxy] with names = ["www.example.net"]',
        )
    overrides = root / "templates"
    rendered = {
        f"conf.d/{each.project}-{each.service}.conf": render("nginx/site.conf.j2", overrides, site=each)
        for each in sites
    }
    return {**rendered, "modules-enabled/deploy.conf": render("nginx/main.conf.j2", overrides)}


def _servers(service: Service, proxy: Proxy, lane: Lane) -> tuple[Server, ...]:
    port = port_of(service, lane)
    return tuple(Server(authority(host, port), proxy.weights.get(host, 1)) for host in proxy.upstreams)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def health_path(service: Service) -> str:
    """The path that the service's own check asks, where it can stand in nginx's file as it is."""
    for check in service.every_check:
        path = check.http.text if check.http and not check.http.refs else ""
        if path.startswith("/") and set("?#;{}\"'\\$ ").isdisjoint(path):
            return path
    return "/health"


def _takes_80(project: Project, name: str, other: str) -> bool:
    """Whether port 80 is another service's for one of these names: served there, or leading to its own TLS."""
    ours, theirs = project.services[name].proxy, project.services[other].proxy
    if ours is None or theirs is None or other == name:
        return False
    shared = set(ours.names or ("",)) & set(theirs.names or ("",))
    return bool(shared) and (listens_on(theirs) == HTTP or (theirs.certificate is not None and other < name))
