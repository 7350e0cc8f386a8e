"""Which host is connected to before the declaration is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provision.cli import ahead
from provision.hosts import HostSpec

TARGET = '[targets.gpu]\nplatform = "supervisord"\npath = "/workspace/x"\n'


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> list[HostSpec]:
    """The hosts that were begun to be connected to."""
    begun: list[HostSpec] = []

    def begin(spec: HostSpec, start: Any) -> None:
        begun.append(spec)

    monkeypatch.setattr(ahead, "Ahead", begin)
    return begun


def test_the_only_host_is_the_one_that_the_judged_declaration_means(
    tmp_path: Path, wanted: list[HostSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    from provision.project import load
    from provision.targets import Deployment

    monkeypatch.delenv("GPU_HOST", raising=False)
    (tmp_path / ".env").write_text("GPU_HOST=203.0.113.7\n")
    (tmp_path / "deploy.toml").write_text(
        '[project]\nname = "x"\n[services.web]\ncommand = ["true"]\n'
        + TARGET
        + 'hosts = ["root@${GPU_HOST}:${GPU_PORT:-2222}"]\nidentity = "~/.ssh/gpu"\nknown_hosts = "pins"\nsudo = true\n'
    )
    ahead.connect_ahead(tmp_path, "gpu", None)
    assert wanted == Deployment(load(tmp_path, target="gpu"), "gpu").hosts


@pytest.mark.parametrize(
    "declaration",
    [
        "",
        "not toml",
        "[targets.other]\nhosts = ['a']",
        TARGET,
        TARGET + "hosts = []",
        TARGET + "hosts = ['a', 'b']",
        TARGET + "hosts = ['gpu-[01:16]']",
        TARGET + "hosts = ['sandbox']",
        TARGET + "hosts = ['${NOWHERE_SET}']",
        TARGET + "hosts = ['a b c']",
        TARGET + "hosts = [7]",
        TARGET + "hosts = 'a'",
        TARGET + "hosts = ['a']\nidentity = 7",
        "targets = 7",
    ],
)
def test_nothing_is_connected_to_unless_it_is_sure(tmp_path: Path, wanted: list[HostSpec], declaration: str) -> None:
    (tmp_path / "deploy.toml").write_text(declaration)
    assert ahead.connect_ahead(tmp_path, "gpu", None) is None
    assert wanted == []
