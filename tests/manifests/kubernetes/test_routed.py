"""What a Gateway is told of a service with a proxy, and who may reach that then."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from provision.manifests.kubernetes import files, render_kubernetes
from provision.manifests.remarks import remarks
from provision.project.schema import Project
from provision.project.target import Target
from tests.manifests.kubernetes.projects import project
from tests.manifests.kubernetes.test_clusters import KUBECTL

WEB = {"command": ["web", "${port}"], "port": 8000}
PROXY = {"names": ["shop.example.net", "*.shop.example.net"], "headers": {"X-Frame-Options": "DENY"}}
ROUTE = "overlays/production/web-route.yaml"


def shop(**proxy: Any) -> Project:
    return project({"web": {**WEB, "proxy": {**PROXY, **proxy}}, "api": {**WEB, "port": 8001}})


def target(**gateway: str) -> Target:
    return Target.model_validate({"platform": "kubernetes", "gateway": {"name": "public", **gateway}})


def sources(written: dict[str, str], file: str) -> list[Any]:
    (policy,) = [each for each in yaml.safe_load_all(written[file]) if each["kind"] == "NetworkPolicy"]
    return [source for rule in policy["spec"].get("ingress", ()) for source in rule["from"]]


def test_names_lead_to_stable_s_service_by_the_gateway_that_is_declared() -> None:
    written = render_kubernetes(shop(), target(namespace="gateways", listener="https"))

    route = yaml.safe_load(written[ROUTE])
    assert route["metadata"]["labels"] == {
        "app.kubernetes.io/name": "web",
        "app.kubernetes.io/part-of": "cres",
        "channel": "stable",
    }
    assert route["spec"] == {
        "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
        "hostnames": ["shop.example.net", "*.shop.example.net"],
        "rules": [
            {
                "backendRefs": [{"name": "web", "port": 8000}],
                "filters": [
                    {
                        "type": "ResponseHeaderModifier",
                        "responseHeaderModifier": {"set": [{"name": "X-Frame-Options", "value": "DENY"}]},
                    }
                ],
                "timeouts": {"request": "0s"},
            }
        ],
    }
    assert [path for path in written if path.endswith("-route.yaml")] == [ROUTE]


def test_without_a_gateway_all_is_as_it_was() -> None:
    plain = Target.model_validate({"platform": "kubernetes"})
    assert render_kubernetes(shop(), plain) == render_kubernetes(project({"web": WEB, "api": {**WEB, "port": 8001}}))


def test_only_production_has_the_route_since_two_places_cannot_have_the_same_names(tmp_path: Path) -> None:
    for name, text in files(shop(), target(namespace="gateways"), tmp_path).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for overlay, count in (("production", 1), ("staging", 0), ("canary", 0)):
        done = subprocess.run(
            [KUBECTL, "kustomize", tmp_path / "overlays" / overlay], capture_output=True, text=True, check=True
        )
        routes = [each for each in yaml.safe_load_all(done.stdout) if each and each["kind"] == "HTTPRoute"]
        assert len(routes) == count, overlay


# What is declared of the Gateway; who reaches a service that it leads to.
DOORS: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({"namespace": "edge"}, {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "edge"}}}),
    (
        {"namespace": "edge", "pods_in": "traefik"},
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "traefik"}}},
    ),
    ({}, {"podSelector": {"matchLabels": {"gateway.networking.k8s.io/gateway-name": "public"}}}),
]


@pytest.mark.parametrize(("gateway", "source"), DOORS)
def test_the_gateway_s_pods_reach_both_channels_and_nothing_else(
    gateway: dict[str, str], source: dict[str, Any]
) -> None:
    written = render_kubernetes(shop(), target(**gateway))

    assert sources(written, "stable/web.yaml") == sources(written, "overlays/canary/web.yaml") == [source]
    assert sources(written, "stable/api.yaml") == []


def test_what_only_a_proxy_of_ours_does_is_named() -> None:
    declared = shop(rate=10, certificate="/etc/tls/shop.pem", certificate_key="/etc/tls/shop.key")

    said = {each.subject: each.text for each in remarks("kubernetes", declared, target(), lambda _: "")}

    assert said["services.web.proxy.rate"].startswith("a Gateway is not told this: it has no such limit")
    assert "listener has the certificate" in said["services.web.proxy.certificate"]
    assert "services.web.proxy.names" not in said
    assert not any("proxy" in each.subject for each in remarks("kubernetes", declared, None, lambda _: ""))
