"""Traffic: what a target declares of what stands before its programs, and which services have it there."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from provision.project.section import Section
from provision.project.values import AbsolutePath, DirectoryUrl, EmailAddress, Percent, Port, Seconds, String, Whole

if TYPE_CHECKING:
    from provision.project.service import Service

SPARE = 2  # slots besides those of the copies: one is proven beside them, and one is a canary
_NONE = "none"
_OF_ENGINES = "llamacpp:"
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value.replace("%", "no interface")))
    except ValueError:
        raise ValueError('expected an address of the host, such as "127.0.0.1", or "0.0.0.0" for all.') from None


class Acme(Section):
    """Who gives certificates to each host, over ACME (RFC 8555), for services with `tls = "auto"`."""

    terms_agreed: bool = False
    """Whether you agree to the authority's terms of service; without that it gives nothing."""
    email: EmailAddress | None = None
    """Whom it may write to."""
    directory: DirectoryUrl = LETS_ENCRYPT
    """Where it begins: "https://…"."""
    ca: AbsolutePath | None = None
    """What its own certificate is judged by: a file of the host, for an authority of one's own."""


class Traffic(Section):
    """What stands before the programs of each host: HAProxy, started by the same platform."""

    listen: Annotated[String, AfterValidator(_address)] = "127.0.0.1"
    """The address of the host on which services' own ports are served; "0.0.0.0" is all of IPv4."""
    hold: Seconds = 60.0
    """How long a request waits at most where a service is replaced in place."""
    hold_requests: Annotated[Whole, Field(ge=1, le=100_000)] = 1000
    """How many requests wait so at the same time; more are answered with 503 and Retry-After."""
    canary: Percent | None = None
    """The share of clients that come to a canary (default: none but those that send `X-Lane: canary`)."""
    acme: Acme | None = None
    """Who gives certificates."""
    metrics: Port | None = None
    """The port of 127.0.0.1 at which HAProxy tells Prometheus what it sees, at /metrics (default: nowhere)."""


def _with_none(schema: dict[str, Any]) -> None:
    schema["anyOf"].append({"const": _NONE})


# Its absence can be said as well.
TrafficOrNone = Annotated[
    Traffic | None,
    BeforeValidator(lambda value: None if value == _NONE else value),
    Field(json_schema_extra=_with_none),
]


def mode_of(service: Service) -> str:
    """What is spoken to `service`: HTTP where that is declared in any way; else nothing that is looked into.

    gRPC and a store's protocol would not survive a front that expects HTTP/1.1 behind it.
    """
    asked = any(check.http or check.completion or check.batch for check in service.every_check)
    return "http" if asked or service.metrics or service.proxy else "tcp"


def counts_tokens(service: Service) -> bool:
    """Whether it is an engine: those tell how many tokens they made among their metrics, by names that begin so."""
    return service.metrics is not None and any(gauge.startswith(_OF_ENGINES) for gauge in service.metrics.busy)


def takes_port(service: Service) -> bool:
    """Whether it is told its port, so that it can have another one than what is declared."""
    texts = (*service.command, *service.args, *service.env.values())
    return any(ref.name == "port" for text in texts for ref in text.refs)
