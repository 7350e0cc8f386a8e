"""Which host is connected to before the declaration is judged."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from provision.errors import DeployError
from provision.hosts import HostSpec
from provision.hosts.ahead import only_host
from provision.project import load
from provision.targets import Deployment

TARGET = '[targets.gpu]\nplatform = "supervisord"\npath = "/workspace/x"\n'


def wanted(folder: Path) -> list[HostSpec | None]:
    """What is found before judging begins, if it is asked for at all."""
    found: list[HostSpec | None] = []

    def meanwhile(target: Any, variables: Mapping[str, str]) -> None:
        found.append(only_host(target, variables, folder.resolve()))

    with contextlib.suppress(DeployError):
        load(folder, target="gpu", meanwhile=meanwhile)
    return found


def test_the_only_host_is_the_one_that_the_judged_declaration_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GPU_HOST", raising=False)
    (tmp_path / ".env").write_text("GPU_HOST=203.0.113.7\n")
    (tmp_path / "deploy.toml").write_text(
        '[project]\nname = "x"\n[services.web]\ncommand = ["true"]\n'
        + TARGET
        + 'hosts = ["root@${GPU_HOST}:${GPU_PORT:-2222}"]\nidentity = "~/.ssh/gpu"\nknown_hosts = "pins"\nsudo = true\n'
    )
    assert wanted(tmp_path) == Deployment(load(tmp_path, target="gpu"), "gpu").hosts


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
def test_nothing_is_connected_to_unless_it_is_sure(tmp_path: Path, declaration: str) -> None:
    (tmp_path / "deploy.toml").write_text(declaration)
    assert wanted(tmp_path) in ([], [None])
