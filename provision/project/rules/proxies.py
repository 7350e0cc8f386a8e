"""Rules about what is in front of services: nginx, or with traffic HAProxy."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from provision.project.fault import Fault, nearest
from provision.project.rules.view import Sound
from provision.project.schema import Proxy, Service, Target
from provision.project.traffic import is_fronted

HTTP, HTTPS = 80, 443


def listens_on(proxy: Proxy) -> int:
    """The port that is listened on for strangers."""
    return proxy.port or (HTTPS if proxy.certificate else HTTP)


def is_here(proxy: Proxy) -> bool:
    """Whether it stands on the host of the service itself, as what it leads to says."""
    return all(map(_is_loopback, proxy.upstreams))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def proxy_before(target: Target, service: Service) -> Proxy | None:
    """The proxy that what stands before the programs of `target` is, too; None where it is nginx, or none is declared.

    One that leads to other machines stands on its own, and leads to the front of each.
    """
    return service.proxy if service.proxy and is_fronted(target, service) and is_here(service.proxy) else None


def _ports(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        if service.proxy and service.port is None:
            message = "there is no port to lead to."
            yield Fault(("services", name, "proxy"), message, "Add port = 8000.", at_key=True)
        if service.proxy and not service.proxy.upstreams:
            yield Fault(
                ("services", name, "proxy", "upstreams"), "no host is named.", "Leave the key out for 127.0.0.1."
            )


def _upstreams(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        upstreams = service.proxy.upstreams if service.proxy else ()
        for index, host in enumerate(upstreams):
            if host in upstreams[:index]:
                path, hint = ("services", name, "proxy", "upstreams", index), "Remove it; weights give a host more."
                yield Fault(path, f'"{host}" is named twice, and counts once.', hint)


def _weights(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        proxy = service.proxy
        for host in proxy.weights if proxy else ():
            if proxy and host not in proxy.upstreams:
                hint = nearest(host, proxy.upstreams, "upstreams")
                yield Fault(("services", name, "proxy", "weights", host), "no such upstream.", hint, at_key=True)


def _certificates(view: Sound) -> Iterator[Fault]:
    for name, service in view.services.items():
        proxy, base = service.proxy, ("services", name, "proxy")
        if proxy and bool(proxy.certificate) != bool(proxy.certificate_key):
            missing = "certificate_key" if proxy.certificate else "certificate"
            yield Fault((*base, missing), "missing.", "A certificate and its key come together.", at_key=True)
        elif proxy and proxy.certificate and proxy.port == HTTP:
            message = "80 leads from HTTP to TLS, so TLS needs another."
            yield Fault((*base, "port"), message, "Leave it out for 443.")


def _names(view: Sound) -> Iterator[Fault]:
    """nginx takes the first of two with one name, and only warns."""
    taken: dict[tuple[int, str], str] = {}
    for name, service in view.services.items():
        if service.proxy is None:
            continue
        for server in service.proxy.names or ("",):
            port = listens_on(service.proxy)
            other = taken.setdefault((port, server.lower()), name)
            if other != name:
                said = f'"{server}" on port {port}' if server else f"every name on port {port}"
                message = f"services.{other} answers to {said} already."
                yield Fault(("services", name, "proxy"), message, "Give each service names of its own.", at_key=True)


RULES = (_ports, _upstreams, _weights, _certificates, _names)
