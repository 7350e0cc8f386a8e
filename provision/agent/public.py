"""Where strangers come in: a service's own `proxy`, as what stands before its programs has it.

Its own port is for those who are inside, as programs of the host that call it: limits and headers are none of theirs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Dict, List, Mapping, Set

from ..contract.public import HTTP, HTTPS, leads_to_tls
from .front.values import Bind, Certificate, Limits, Route

if TYPE_CHECKING:
    from ..contract.release import FrontedDocument, PublicDocument


def limits(declared: FrontedDocument) -> Limits:
    """What may be done at a service; nobody is a stranger where it has no proxy."""
    if "public" not in declared:
        return Limits(timeout=declared["timeout"]) if "timeout" in declared else Limits()
    public = declared["public"]
    return Limits(
        public["timeout"],
        public["body"],
        public["rate"],
        public["connections"],
        tuple(sorted(public["headers"].items())),
        public["health"],
        public["metrics"],
    )


def binds(services: Mapping[str, FrontedDocument], *, challenged: bool = False) -> List[Bind]:
    """A public port each, at every address of the host, with the services that come in there by their names.

    Args:
        challenged: whether an authority asks at port 80 whose the names are.
    """
    found: Dict[int, List[Route]] = {}
    certificates: Dict[int, List[Certificate]] = {}
    public = {name: each["public"] for name, each in services.items() if "public" in each}
    # Who names no host of ours is shown the first certificate: that of a service for every name, if there is one.
    for name, each in sorted(public.items(), key=lambda item: (bool(item[1]["names"]), item[0])):
        found.setdefault(each["port"], []).append(Route(name, tuple(each["names"])))
        if each["certificate"]:
            certificates.setdefault(each["port"], []).append(_certificate(each))
    led = _led_to_tls(public)
    if led:
        found.setdefault(HTTP, []).extend(led)
    return [
        Bind(
            port,
            tuple(routes),
            everywhere(),
            tuple(dict.fromkeys(certificates.get(port, ()))),
            challenged=challenged and port == HTTP,
        )
        for port, routes in sorted(found.items())
    ]


def everywhere() -> str:
    """Each address of this host; one without IPv6 has no such address to listen at."""
    return "::" if os.path.exists("/proc/net/if_inet6") else "*"


def _certificate(public: PublicDocument) -> Certificate:
    same = public["certificate"] == public["certificate_key"]
    return Certificate(public["certificate"], "" if same else public["certificate_key"])


def _led_to_tls(public: Mapping[str, PublicDocument]) -> List[Route]:
    """From port 80, for each name that no service answers to there."""
    taken: Set[str] = {name for each in public.values() if each["port"] == HTTP for name in each["names"] or [""]}
    names = [name for each in public.values() if leads_to_tls(each) for name in each["names"] or [""]]
    left = sorted(set(names) - taken)
    return [Route("", (name,) if name else (), to_tls=HTTPS) for name in left]
