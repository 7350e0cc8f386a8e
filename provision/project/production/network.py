"""Who can reach what, and whether others can listen."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from provision.project.production.rule import Finding, Rule, Severity, Subject, literal, written
from provision.project.service import Service

_EVERY_ADDRESS = re.compile(r"(?<![0-9.])0\.0\.0\.0(?![0-9./])|\[::\]|(?<![0-9A-Fa-f:])::(?![0-9A-Fa-f:/])")


def _tls_public(subject: Subject) -> Iterator[Finding]:
    for name, service in subject.project.services.items():
        if service.proxy and not service.proxy.speaks_tls and not _by_gateways(subject, name):
            yield Finding(("services", name, "proxy"), "what passes it can be read and changed on its way.")
        elif not service.proxy and (index := _first_public(service)) is not None:
            yield Finding(("services", name, "expose", index), "reached from outside, and nothing in front speaks TLS.")


def _by_gateways(subject: Subject, name: str) -> bool:
    """Whether all that run it are clusters, with a Gateway's listener that was chosen: certificates are its own."""
    where = [
        target for target in subject.project.targets.values() if target.services is None or name in target.services
    ]
    return bool(where) and all(target.gateway and target.gateway.listener for target in where)


def _first_public(service: Service) -> int | None:
    return next((at for at, each in enumerate(service.expose) if not ipaddress.ip_network(each).is_private), None)


def _tls_private(subject: Subject) -> Iterator[Finding]:
    for name, service in subject.project.services.items():
        if service.expose and not service.proxy and _first_public(service) is None:
            yield Finding(("services", name, "expose"), "what is sent in this network is sent in the clear.")


def _bind(subject: Subject) -> Iterator[Finding]:
    for name, service in subject.project.services.items():
        if service.expose:
            continue  # others are meant to reach it
        for path, text in written(name, service):
            if _EVERY_ADDRESS.search(literal(text)):
                yield Finding(path, "it listens on every address, and nobody outside is meant to reach it.")


def _everybody(subject: Subject) -> Iterator[Finding]:
    for name, service in subject.project.services.items():
        for index, network in enumerate(service.expose):
            if ipaddress.ip_network(network).prefixlen == 0 and service.proxy:
                message = "everybody can pass by the proxy: its TLS, limits and canary."
                yield Finding(("services", name, "expose", index), message)


def _firewall(subject: Subject) -> Iterator[Finding]:
    for place, target in subject.targets.items():
        if target.can.over_ssh and target.firewall is None:
            yield Finding(("targets", place), "nothing says what its hosts let through.")


def _ssh(subject: Subject) -> Iterator[Finding]:
    for place, target in subject.targets.items():
        if target.firewall and not target.firewall.ssh:
            yield Finding(("targets", place, "firewall"), "everybody may knock at SSH.")


def _outgoing(subject: Subject) -> Iterator[Finding]:
    for place, target in subject.targets.items():
        if target.firewall and target.firewall.outgoing == "allow":
            yield Finding(("targets", place, "firewall"), "what runs here may send anything anywhere.")


RULES = (
    Rule(
        "tls-public",
        Severity.FAIL,
        "What is reached from outside is reached through TLS.",
        "Keys, prompts and answers could be read and changed by everybody on their way.",
        "Put a proxy that speaks TLS in front, by `tls` or `certificate`; expose the port to the proxy's hosts alone. "
        "On a cluster name the Gateway's `listener` that speaks TLS.",
        _tls_public,
    ),
    Rule(
        "tls-private",
        Severity.WARN,
        "What is reached from a private network is reached through TLS, too.",
        "One machine that is taken over can listen to the others.",
        "Put a proxy that speaks TLS in front, by `tls` or `certificate`, or know that the network is trusted.",
        _tls_private,
    ),
    Rule(
        "bind-address",
        Severity.FAIL,
        "What nobody outside is meant to reach listens on 127.0.0.1.",
        "A firewall that is off for a minute is then no hole.",
        "Write `${listen}`: 127.0.0.1 on a host, every address in a container. Or say in `expose` who may reach it.",
        _bind,
    ),
    Rule(
        "exposed-beside-proxy",
        Severity.FAIL,
        "Nobody can pass by the proxy.",
        "Its TLS and its limits hold only for those who come through it.",
        "Let `expose` name the network of the proxy's hosts.",
        _everybody,
    ),
    Rule(
        "firewall",
        Severity.WARN,
        "Each target declares its firewall.",
        "What a host lets through is otherwise nobody's decision.",
        "Add [targets.NAME.firewall], and apply what `deploy render ufw` writes.",
        _firewall,
    ),
    Rule(
        "ssh-network",
        Severity.WARN,
        "SSH is open to known networks alone.",
        "Whoever can knock can try keys, and what the next flaw in SSH needs.",
        'firewall: `ssh = ["10.0.0.0/8"]`, the networks of those who deploy.',
        _ssh,
    ),
    Rule(
        "outgoing",
        Severity.WARN,
        "Hosts reach only what services declare.",
        "A service that is taken over could send out what it knows, and fetch what it wants.",
        'firewall: `outgoing = "deny"`; services: `outbound = ["10.0.0.0/8:5432"]`.',
        _outgoing,
    ),
)
