"""The part of the configuration that takes requests, and says whose each is."""

from __future__ import annotations

from typing import Iterator, List, Mapping, Tuple

from . import words
from .log import FORMAT, FORMAT_TCP
from .values import TCP, Backend, Bind, Limits, Route

_HTTPS = 443


def section(bind: Bind, backends: Mapping[str, Backend]) -> Iterator[str]:
    """The lines of one `frontend`."""
    served = [backends[route.service] for route in bind.routes if route.service]
    patience = max((each.limits.timeout for each in served), default=Limits().timeout)
    yield f"frontend {_called(bind)}"
    yield f"  bind {_listening(bind)}"
    yield f"  timeout client {words.milliseconds(patience)}"
    if any(each.mode == TCP for each in served):
        yield "  mode tcp"
        yield f"  log-format '{FORMAT_TCP}'"
        yield "  option clitcpka"
        yield f"  default_backend {words.name('service', served[0].service)}"
        return
    yield "  mode http"
    yield f"  log-format '{FORMAT}'"
    yield "  option http-no-delay"  # tokens are passed on as they come
    yield "  option idle-close-on-response"  # after a reload a client hears with an answer that its connection ends
    yield from _routing(bind)


def _called(bind: Bind) -> str:
    """Services have no colon in their names."""
    return f"front:{bind.address.replace(':', '_').replace('*', 'all')}:{words.port(bind.port)}"


def _listening(bind: Bind) -> str:
    where = "*" if bind.address == "*" else words.address(bind.address)
    found = f"{where}:{words.port(bind.port)}" + (" v4v6" if bind.address == "::" else "")
    if bind.certificates:
        files = "".join(f" crt {words.quoted('certificate', path)}" for path in bind.certificates)
        found += f" ssl{files} alpn h2,http/1.1"
    return found


def _routing(bind: Bind) -> Iterator[str]:
    yield "  http-request set-var(txn.host) req.hdr(host),host_only,lower"
    yield "  acl routed var(txn.service) -m found"
    for number, (host, path, leads) in enumerate(_in_order(bind.routes)):
        conditions = ["!routed"]
        if host:
            wide = host.startswith("*.")
            how, wanted = ("end", host[1:]) if wide else ("str", host)
            yield f"  acl host{number} var(txn.host) -m {how} -- {words.quoted('host', wanted)}"
            conditions.append(f"host{number}")
        if path:
            yield f"  acl path{number} path -m str -- {words.quoted('path', path)}"
            yield f"  acl path{number} path -m beg -- {words.quoted('path', path + '/')}"
            conditions.append(f"path{number}")
        yield f"  http-request set-var(txn.service) str({leads}) if {' '.join(conditions)}"
    yield "  http-request return status 404 content-type text/plain string 'nobody has this name' if !routed"
    for to in sorted({route.to_tls for route in bind.routes if route.to_tls}):
        port = "" if to == _HTTPS else f":{words.port(to)}"
        where = f"https://%[var(txn.host)]{port}%[pathq]"
        # 308 keeps the method.
        yield f"  http-request redirect location {where} code 308 if {{ var(txn.service) -m str :{to} }}"
    yield "  use_backend %[var(txn.service)]"


def _in_order(routes: Tuple[Route, ...]) -> List[Tuple[str, str, str]]:
    """Host, path and where they lead; those first that say more. A path has no slash at its end, the whole is empty."""
    found = []
    for route in routes:
        leads = words.name("service", route.service) if route.service else f":{words.port(route.to_tls)}"
        path = words.path(route.path)
        for host in route.hosts or ("",):
            wide = host.startswith("*.")
            judged = ("*." if wide else "") + words.host(host[2:] if wide else host) if host else ""
            found.append((judged, path, leads))
    return sorted(found, key=lambda each: (each[0] == "", each[0].startswith("*."), -len(each[0]), -len(each[1])))
