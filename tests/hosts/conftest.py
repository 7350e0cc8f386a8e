from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.hosts import HostConnection, connect
from provision.hosts.sandbox import Sandbox
from provision.hosts.sandbox.layout import Server


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A host with a real sshd."""
    with Sandbox(tmp_path_factory.mktemp("sshd"), server=Server.SSHD) as host:
        yield host


@pytest.fixture(scope="session", params=list(Server), ids=lambda server: server.value)
def any_sandbox(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A host with each of the servers in turn."""
    with Sandbox(tmp_path_factory.mktemp(request.param.value), server=request.param) as host:
        yield host


@pytest.fixture
def host(any_sandbox: Sandbox) -> Iterator[HostConnection]:
    """A connection to a host with each of the servers in turn."""
    with connect(any_sandbox.spec) as connection:
        yield connection


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder on the laptop."""
    folder = tmp_path / "laptop"
    folder.mkdir()
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder on the host, which is this machine."""
    folder = tmp_path / "host"
    folder.mkdir()
    return folder
