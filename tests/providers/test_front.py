"""Rented machines behind one front: one that is lost and replaced costs nobody an error that another could answer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from provision import rollout
from provision.project import load
from provision.rollout.lost import Back, Endpoints, Failed, GivenBack, Lost
from provision.targets import Deployment
from tests.deploy.visitors import visitors
from tests.deploy.world import SERVER
from tests.providers.conftest import KEY, Rental
from tests.providers.laptop import DECLARED, boot
from tests.providers.test_lost import Market, declare, deployment, look
from tests.testbed import Kind, TestHost
from tests.testbed.fixtures import MakeHost
from tests.testbed.slots import Slot

pytestmark = [pytest.mark.root, pytest.mark.slow]

_BEHIND = """
[targets.gpu.traffic]
[targets.gpu.front]
target = "edge"
[targets.edge]
hosts = ["root@{address}"]
identity = "{identity}"
path = "/workspace/cres"
services = []
[targets.edge.traffic]
"""


class Front:
    """What visitors ask."""

    port = 8000

    def __init__(self, host: TestHost) -> None:
        self.host = host


def test_one_that_is_lost_and_replaced_costs_nobody_an_error(
    make_host: MakeHost, slot: Slot, tmp_path: Path, market: Market
) -> None:
    edge, *hosts = [make_host(Kind.SUPERVISORD) for _ in range(4)]
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(SERVER, folder)
    text = DECLARED.format(identity=slot.identity, digest="0" * 64)
    text = text.replace('provider = "vast"\n', 'provider = "vast"\nmachines = 2\n').replace("['web']", "web")
    (folder / "deploy.toml").write_text(text)
    (folder / "known_hosts").write_text(f"{edge.address} {edge.host_key}\n")
    rental = market(None, *map(boot, hosts))
    declare(folder, "rent again")
    with (folder / "deploy.toml").open("a") as file:
        file.write(_BEHIND.format(address=edge.address, identity=slot.identity))
    _edge(folder, rental)
    (old, _), (kept, _) = deployment(folder, rental).machines.rent()
    rollout.up(deployment(folder, rental))
    assert _known(folder, rental) == {old.address: True, kept.address: True}

    with visitors(Front(edge), streams=0) as met:  # type: ignore[arg-type]
        hosts[0].stop()
        rental.change(old.id, outbid_after=1)
        found = look(folder, rental, Lost, Back, GivenBack, Endpoints)

    assert [str(each.error) for each in found if isinstance(each, Failed)] == []
    assert [type(each) for each in found] == [Lost, Back, GivenBack, Endpoints]
    new = found[1].machine
    assert _known(folder, rental) == {kept.address: True, new.address: True}
    assert met["longest"] < 10


def _edge(folder: Path, rental: Rental) -> None:
    loaded = load(folder, environ={"VAST_API_KEY": KEY, "VAST_URL": rental.url}, target="edge")
    rollout.up(Deployment(loaded, "edge"))


def _known(folder: Path, rental: Rental) -> dict[tuple[str, int], bool]:
    """By where a machine is logged in to, whether the front gives it requests."""
    loaded = load(folder, environ={"VAST_API_KEY": KEY, "VAST_URL": rental.url}, target="edge")
    (status,) = rollout.status(Deployment(loaded, "edge"))
    return {(each["address"], 22): each["takes"] for each in status.project["state"]["peers"].values()}
