"""Rules about what is in front of services: nginx, or with traffic HAProxy."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from provision.project.fault import Fault, nearest
from provision.project.fronted import is_fronted
from provision.project.parts import Proxy
from provision.project.rules.view import Sound
from provision.project.sandbox import SANDBOX
from provision.project.service import Service
from provision.project.target import Target

HTTP, HTTPS = 80, 443
_SEEN_IN_CONTAINERS = ("/etc/ssl/", "/etc/pki/", "/usr/")  # of the host, besides the project's folder


def listens_on(proxy: Proxy) -> int:
    """The port that is listened on for strangers."""
    return proxy.port or (HTTPS if proxy.speaks_tls else HTTP)


def is_seen(target: Target, path: str) -> bool:
    """Whether what stands before the programs sees a file of the host: where it is a container, some folders alone."""
    return target.can.on_host or path.startswith((f"{target.path}/", *_SEEN_IN_CONTAINERS))


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
    if target.front:  # strangers come in there, and the front of each machine admits that one alone
        return None
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


def _by_itself(view: Sound) -> Iterator[Fault]:
    """What an authority can't judge, or nobody would ask it for."""
    told: set[str] = set()  # targets
    for name, service in view.services.items():
        proxy, path = service.proxy, ("services", name, "proxy", "tls")
        if proxy is None or proxy.tls is None:
            continue
        wide = next((each for each in proxy.names if each.startswith("*.")), None)
        fronted = [place for place, target in view.targets.items() if proxy_before(target, service)]
        if proxy.certificate:
            yield Fault(path, "there is a certificate.", "Remove either.", at_key=True)
        elif not proxy.names:
            yield Fault(path, "a certificate is for names, and there are none.", 'Add names = ["www.example.net"].')
        elif wide:
            yield Fault(path, f'nobody gives a certificate for "{wide}" by what a host answers.', "Name each.")
        elif listens_on(proxy) != HTTPS:
            hint = "Leave port out."
            yield Fault(path, f"who gives certificates asks at {HTTP}, which leads to {HTTPS} alone.", hint)
        elif not fronted:
            message = "HAProxy gets it, on a target with traffic, and none leads to this service."
            yield Fault(path, message, "Add [targets.NAME.traffic.acme], or name a certificate.", at_key=True)
        for place in fronted:
            if place not in told:
                told.add(place)
                yield from _authority(view.targets[place], ("targets", place), name)


def _authority(target: Target, path: tuple[str, ...], service: str) -> Iterator[Fault]:
    acme = target.traffic.acme if target.traffic else None
    if [each.text for each in target.hosts] == [SANDBOX]:
        yield Fault((*path, "hosts"), f"nobody outside can ask a sandbox whether services.{service} has its names.")
    elif acme is None:
        message = f'services.{service}.proxy.tls is "auto", and nobody is named who gives certificates.'
        yield Fault((*path, "traffic"), message, "Add acme = { terms_agreed = true }: Let's Encrypt.", at_key=True)
    elif not acme.terms_agreed:
        message = "nobody gives certificates to who has not agreed to his terms of service."
        yield Fault((*path, "traffic", "acme"), message, "Read them, then add terms_agreed = true.", at_key=True)
    elif acme.ca and not is_seen(target, acme.ca):
        message = f"who asks for certificates is a container on {target.platform}, and sees {target.path} and /etc/ssl."
        hint = f"Put it there, such as {target.path}/shared/tls/{acme.ca.rpartition('/')[2]}."
        yield Fault((*path, "traffic", "acme", "ca"), message, hint)


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


RULES = (_ports, _upstreams, _weights, _certificates, _by_itself, _names)
