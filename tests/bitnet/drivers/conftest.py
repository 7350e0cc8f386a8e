from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bitnet.drivers import ANY_COMMAND, GRPCSupervisorClient, GRPCSupervisorDriver
from bitnet.supervisor import RuntimeSupervisor
from tests.bitnet.drivers.certificates import Authority
from tests.bitnet.spans import spans as spans
from tests.bitnet.supervisor.programs import PrintingRuntime, look_around


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Paths: `ca`, `server`/`server-key` for localhost, `client`/`client-key`, and `stranger`s of another authority."""
    folder = tmp_path_factory.mktemp("certificates")
    ours, theirs = Authority(folder, "ca"), Authority(folder, "other-ca")
    paths = {"ca": ours.path, "other-ca": theirs.path}
    for authority, stem, name in (
        (ours, "server", "localhost"),
        (ours, "far", "gpu1.example.net"),
        (ours, "client", "client"),
        (theirs, "stranger", "stranger"),
    ):
        paths[stem], paths[f"{stem}-key"] = authority.issue(stem, name)
    return paths


@pytest.fixture
async def supervisor() -> AsyncIterator[RuntimeSupervisor]:
    async with RuntimeSupervisor(PrintingRuntime(), concurrency=2, resource_limits={"gpu": 2}, drain=0) as supervisor:
        yield supervisor


@pytest.fixture
async def driver(supervisor: RuntimeSupervisor) -> AsyncIterator[GRPCSupervisorDriver]:
    """Plain, on loopback, and open for every command."""
    async with GRPCSupervisorDriver(supervisor, port=0, allowed_commands=ANY_COMMAND) as driver:
        yield driver


@pytest.fixture
async def client(driver: GRPCSupervisorDriver) -> AsyncIterator[GRPCSupervisorClient]:
    async with GRPCSupervisorClient(f"127.0.0.1:{driver.port}") as client:
        yield client


@pytest.fixture(autouse=True)
def surroundings() -> None:
    look_around()
