"""The firewall of a host, for ufw: what is declared may pass, SSH stays open, the rest is closed, Docker included."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from provision.manifests.templates import render
from provision.project.networks import Endpoint
from provision.project.parts import Proxy
from provision.project.rules.proxies import HTTP, is_here, listens_on
from provision.project.schema import Project
from provision.project.service import Service
from provision.project.target import Target

_SSH = 22


@dataclass(frozen=True)
class Rule:
    """One rule as ufw takes it, without the word ufw, and what it is for."""

    text: str
    why: str


@dataclass(frozen=True)
class Firewall:
    """What a template may use, as `firewall`."""

    project: str
    rules: tuple[Rule, ...]  # SSH first
    closed: tuple[str, ...]  # sentences about ports that nobody outside reaches
    ssh_ports: tuple[int, ...]  # those that are open to everybody
    denies_outgoing: bool


def firewall(project: Project, target: Target | None) -> Firewall:
    """The facts of the firewall of each host of `target`, or of a host that runs all services."""
    named = target.services if target else None
    services = {name: service for name, service in project.services.items() if named is None or name in named}
    declared = target.firewall if target else None
    denies = declared is not None and declared.outgoing == "deny"
    ports = _ssh_ports(target)
    rules = [rule for port in ports for rule in _ssh(port, declared.ssh if declared else ())]
    closed = []
    for name, service in services.items():
        opened = list(_incoming(name, service, forwarded=target is not None and target.can.forwarded))
        rules += opened
        if service.port is not None and not opened:
            closed.append(f"{name}, port {service.port}: expose is empty")
    if denies:
        rules += [Rule("allow out to any port 53", "names"), Rule("allow out to any port 123 proto udp", "clocks")]
        rules += [_outgoing(name, each) for name, service in services.items() for each in service.outbound]
    # Services may ask for the same; ufw knows a rule once, and so do we.
    once = {rule.text: rule for rule in reversed(rules)}
    kept = tuple(rule for rule in rules if once[rule.text] is rule)
    open_to_all = () if declared and declared.ssh else ports
    return Firewall(project.name, kept, tuple(closed), open_to_all, denies)


def files(project: Project, target: Target | None, root: Path) -> dict[str, str]:
    """A script, and its rules for people. See `provision.platforms.face.Face.files`."""
    facts, overrides = firewall(project, target), root / "templates"
    return {
        "plan.txt": render("ufw/plan.txt.j2", overrides, firewall=facts),
        "ufw.sh": render("ufw/ufw.sh.j2", overrides, firewall=facts),
    }


def _ssh_ports(target: Target | None) -> tuple[int, ...]:
    """The ports in `hosts`, each once."""
    ports = set()
    for host in target.hosts if target else ():
        # Ranges and IPv6 addresses have colons of their own, in brackets.
        _, _, port = re.sub(r"\[[^\]]*\]", "", host.text.rpartition("@")[2]).partition(":")
        ports.add(int(port) if port else _SSH)
    return tuple(sorted(ports or {_SSH}))


def _ssh(port: int, networks: tuple[str, ...]) -> Iterator[Rule]:
    if not networks:
        yield Rule(f"allow to any port {port} proto tcp", "SSH")
    for network in networks:
        yield Rule(f"allow from {network} to any port {port} proto tcp", "SSH")


def _incoming(name: str, service: Service, *, forwarded: bool) -> Iterator[Rule]:
    """Who may reach a service: at nginx's port where that is in front of it on this host."""
    if service.port is None:
        return
    ports = {service.port: name}
    if service.proxy and is_here(service.proxy):
        ports = _proxy_ports(name, service.proxy)
    route = "route " if forwarded and not service.proxy else ""
    for port, why in ports.items():
        for network in service.expose:
            yield Rule(f"{route}allow from {network} to any port {port} proto tcp", why)


def _proxy_ports(name: str, proxy: Proxy) -> dict[int, str]:
    ports = {listens_on(proxy): f"{name}, through nginx"}
    if proxy.speaks_tls:
        ports[HTTP] = "leads to TLS"
    return ports


def _outgoing(name: str, outbound: Endpoint) -> Rule:
    ports = str(outbound.first) if outbound.first == outbound.last else f"{outbound.first}:{outbound.last}"
    return Rule(f"allow out to {outbound.network} port {ports} proto tcp", name)
