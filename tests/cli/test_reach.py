"""Where users reach a service, as the last lines of `deploy up` say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.project import load
from provision.targets import Deployment
from provision.targets.reach import reached

WEB = 'command = ["web"]\nport = 8000\n'
CASES = {
    "a tunnel where nothing else is declared": (WEB, "", "stable", ("http://127.0.0.1:8000", "deploy tunnel web")),
    "a canary by a tunnel of its own": (
        WEB + 'proxy = { names = ["a.example"] }',
        "",
        "canary",
        ("http://127.0.0.1:18000", "deploy tunnel web --channel canary"),
    ),
    "the proxy's own name": (
        WEB + 'proxy = { names = ["*.b.example", "a.example"] }',
        "",
        "stable",
        ("http://a.example", ""),
    ),
    "with its certificate": (
        WEB + 'proxy = { names = ["a.example"], port = 8443, certificate = "/c", certificate_key = "/k" }',
        "",
        "stable",
        ("https://a.example:8443", ""),
    ),
    "the host's address for those it lets in": (
        WEB + 'expose = ["10.0.0.0/8"]',
        "",
        "stable",
        ("http://gpu-1:8000", ""),
    ),
    "one of several targets": (
        WEB,
        '[targets.other]\nhosts = ["b"]\npath = "/srv/b"\n',
        "stable",
        ("http://127.0.0.1:8000", "deploy tunnel web --target here"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_service_is_reached(tmp_path: Path, case: str) -> None:
    service, more, channel, (url, tunnel) = CASES[case]
    text = f'[project]\nname = "p"\n[services.web]\n{service}\n[services.worker]\ncommand = ["w"]\n'
    (tmp_path / "deploy.toml").write_text(text + f'[targets.here]\nhosts = ["ann@gpu-1"]\npath = "/srv/p"\n{more}')
    deployment = Deployment(load(tmp_path, environ={}, target="here"), "here")
    assert [*reached(deployment, deployment.hosts[0], channel)] == [("web", url, tunnel)]
