"""What strangers meet at what stands before the programs of a host."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from provision.project.fronted import is_fronted, services_behind
from provision.project.production.rule import Finding, Rule, Severity, Subject
from provision.project.rules.proxies import proxy_before


def _listen(subject: Subject) -> Iterator[Finding]:
    for place, target in subject.targets.items():
        if target.traffic is None or not _is_for_strangers(target.traffic.listen) or target.firewall is not None:
            continue
        here = subject.project.services_on(target)
        if served := [name for name, service in here.items() if is_fronted(target, service)]:
            message = f"{', '.join(served)}: without TLS, and without limits, for whoever reaches the host."
            yield Finding(("targets", place, "traffic"), message)


def _is_for_strangers(listen: str) -> bool:
    """Whether more than the host itself and a private network reach the address."""
    address = ipaddress.ip_address(listen)
    return address.is_unspecified or address.is_global


def _limits(subject: Subject) -> Iterator[Finding]:
    for target in subject.targets.values():
        behind = services_behind(subject.project.targets, subject.project.services, target)
        services = {**subject.project.services_on(target), **{name: subject.project.services[name] for name in behind}}
        for name, service in services.items():
            proxy = proxy_before(target, service)
            if proxy and proxy.rate is None and proxy.connections is None:
                yield Finding(("services", name, "proxy"), "one client may send as much as it likes.")


RULES = (
    Rule(
        "traffic-listen",
        Severity.FAIL,
        "Strangers come in by a service's proxy, not by its own port.",
        "A service's own port has no TLS and no limits: it is for who is on the host, or in its network.",
        "Leave `listen` of the traffic out and give the service a `proxy`; or add [targets.NAME.firewall].",
        _listen,
    ),
    Rule(
        "traffic-limits",
        Severity.WARN,
        "One client can't take a service from all others.",
        "A loop in one program, or one who means harm, fills every slot of a model.",
        "proxy: `rate = 5` requests a second, or `connections = 8` at a time, of one client address.",
        _limits,
    ),
)
