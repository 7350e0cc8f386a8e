"""Where strangers come in, as what stands before the programs is told."""

from __future__ import annotations

from typing import Any

from provision.agent import public
from provision.contract.public import served
from provision.contract.release import FrontedDocument, PublicDocument


def _fronted(port: int, names: list[str], **more: Any) -> FrontedDocument:
    declared = PublicDocument(
        port=port,
        names=names,
        certificate="",
        certificate_key="",
        timeout=1.0,
        body=1,
        rate=0,
        connections=0,
        headers={},
        health="/health",
        metrics="",
    )
    declared.update(more)  # type: ignore[typeddict-item]
    return FrontedDocument(port=8000 + len(names), mode="http", drain=1.0, public=declared)


def test_port_80_leads_to_tls_at_443_for_names_that_nobody_answers_to_there() -> None:
    tls = {"certificate": "/c", "certificate_key": "/k"}
    services = {
        "api": _fronted(443, ["a.example.net", "b.example.net"], **tls),
        "web": _fronted(443, [], certificate="/both", certificate_key="/both"),
        "old": _fronted(80, ["b.example.net"]),
        "own": _fronted(8443, ["c.example.net", "d.example.net", "e.example.net"], **tls),
    }

    plain, secure, own = public.binds(services)

    assert [(route.service, route.hosts, route.to_tls) for route in plain.routes] == [
        ("old", ("b.example.net",), 0),
        ("", (), 443),
        ("", ("a.example.net",), 443),
    ]
    assert [tuple(each) for each in secure.certificates] == [("/both", ""), ("/c", "/k")]
    assert [route.service for route in own.routes] == ["own"]
    assert served(services) == [80, 443, 8000, 8001, 8002, 8003, 8443]
