"""Rules about what stands before the programs of a target."""

from __future__ import annotations

from collections.abc import Iterator

from provision.contract.slots import KEEPER, TRAFFIC
from provision.project.fault import Fault
from provision.project.fronted import is_fronted, services_behind
from provision.project.parts import Proxy
from provision.project.ports import port_of, slot_port
from provision.project.rules.proxies import HTTP, HTTPS, is_here, is_seen, listens_on, proxy_before
from provision.project.rules.view import Sound
from provision.project.service import Lane
from provision.project.target import Target
from provision.project.traffic import SPARE
from provision.project.values import LAST_PORT

_OF_NGINX = ("weights", "canary", "connect_timeout", "send_timeout")  # keys of a proxy that say nothing to HAProxy


def _declared(view: Sound) -> Iterator[Fault]:
    for name, target in view.targets.items():
        path = ("targets", name, "traffic")
        if target.traffic is None:
            continue
        chosen = view.chosen(target)
        if chosen and not any(is_fronted(target, service) for service in chosen.values()):
            message = (
                "no service here has a port that its command or env takes as ${port}, so nothing comes through it."
            )
            yield Fault(path, message, "Write ${port} where the number is, or remove it.", at_key=True)
        for taken, whose in ((TRAFFIC, "the program before the others"), (KEEPER, "who counts its requests")):
            if taken in chosen:
                message = f"it is what {whose} is called (targets.{name}.traffic)."
                yield Fault(("services", taken), message, "Give it another name.", at_key=True)


def _proxies(view: Sound) -> Iterator[Fault]:
    """A proxy on the host itself is what stands before the programs, where something does."""
    for place, target in view.targets.items():
        tls: dict[int, str] = {}
        plain: dict[int, str] = {}
        for name, service in view.chosen(target).items() if target.traffic else ():
            proxy, base = service.proxy, ("services", name, "proxy")
            if proxy is None or not is_here(proxy):
                continue
            none = f'Remove it, or set targets.{place}.traffic = "none" where nginx stands there.'
            if not is_fronted(target, service):
                leads = "HAProxy leads to services that always run, and take their port as ${port}."
                hint = "Write ${port} where the number is, or remove it."
                yield Fault(base, f"nothing leads to it on targets.{place}: {leads}", hint, at_key=True)
                continue
            yield from _unseen(target, name, proxy)
            for key in _OF_NGINX:
                if getattr(proxy, key) != Proxy.model_fields[key].get_default(call_default_factory=True):
                    hint = f"targets.{place}.traffic.canary says that." if key == "canary" else none
                    yield Fault((*base, key), f"it counts for nothing on targets.{place}, which has traffic.", hint)
            (tls if proxy.speaks_tls else plain).setdefault(listens_on(proxy), name)
        for port in sorted(tls.keys() & plain.keys()):
            message = f"services.{tls[port]} speaks TLS at port {port}."
            yield Fault(
                ("services", plain[port], "proxy"), message, "Give it a certificate, or another port.", at_key=True
            )


def _unseen(target: Target, name: str, proxy: Proxy) -> Iterator[Fault]:
    """What stands before containers is one itself, and sees few folders."""
    for key in ("certificate", "certificate_key"):
        path = getattr(proxy, key)
        if path and not is_seen(target, path):
            message = f"HAProxy is a container on {target.platform}, and sees {target.path} and /etc/ssl."
            hint = f"Put it there, such as {target.path}/shared/tls/{path.rpartition('/')[2]}."
            yield Fault(("services", name, "proxy", key), message, hint)


def _ports(view: Sound) -> Iterator[Fault]:
    """What stands before the programs has the declared ports, and each slot one of its own."""
    for target in view.targets.values():
        taken: dict[int, str] = {}
        behind = {name: view.services[name] for name in services_behind(view.targets, view.services, target)}
        for name, service in {**view.chosen(target), **behind}.items() if target.traffic else ():
            if proxy := proxy_before(target, service):
                taken[listens_on(proxy)] = f"the port of services.{name}.proxy"
                if proxy.speaks_tls and listens_on(proxy) == HTTPS:
                    taken.setdefault(HTTP, f"what leads to services.{name}.proxy")
        if target.traffic and target.traffic.metrics:
            taken.setdefault(target.traffic.metrics, "where HAProxy tells Prometheus what it sees")
        for of_slots in (False, True) if target.traffic else ():
            for name, port, what in _wanted(view, target, of_slots=of_slots):
                if port <= LAST_PORT and taken.setdefault(port, what) == what:
                    continue
                whose = f"is {taken[port]}" if port in taken else "is no port"
                message = f"{what} is {port}, which {whose}."
                yield Fault(("services", name, "port"), message, "Choose another port.")
                break


def _wanted(view: Sound, target: Target, *, of_slots: bool) -> Iterator[tuple[str, int, str]]:
    """The ports of the services of `target`: whose, which, and what each is for."""
    for name in () if of_slots else services_behind(view.targets, view.services, target):
        yield name, view.services[name].port or 0, f"the port of services.{name}"
    for name, service in view.chosen(target).items():
        if service.port is None:
            continue
        if not is_fronted(target, service):
            ports = [port_of(service, Lane.STABLE, copy + 1) for copy in range(view.copies.get(name, 1))]
            others = [port_of(service, lane) for lane in (Lane.CANARY, Lane.CANDIDATE)]
            for port in others if of_slots else ports:
                yield name, port or 0, f"a port of services.{name}"
        elif not of_slots:
            yield name, service.port, f"the port of services.{name}"
        else:
            for slot in range(1, view.copies.get(name, 1) + SPARE + 1):
                yield name, slot_port(service, slot), f"the port of slot {slot} of services.{name}"


RULES = (_declared, _proxies, _ports)
