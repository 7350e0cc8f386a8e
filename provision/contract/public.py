"""Which ports what stands before the programs of a host has. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Mapping

if TYPE_CHECKING:
    from .release import FrontedDocument, PublicDocument

HTTP, HTTPS = 80, 443


def leads_to_tls(public: PublicDocument) -> bool:
    """Whether port 80 leads to it. Who has chosen a port of his own for TLS may have no other."""
    return bool(public["certificate"]) and public["port"] == HTTPS


def served(services: Mapping[str, FrontedDocument]) -> List[int]:
    """All ports, in order: the services' own, where strangers come in, and 80 where it leads to TLS."""
    found = {each["port"] for each in services.values()}
    for each in services.values():
        if "public" in each:
            found |= {each["public"]["port"], *([HTTP] if leads_to_tls(each["public"]) else [])}
    return sorted(found)
