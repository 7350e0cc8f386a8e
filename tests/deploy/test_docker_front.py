"""One front for many machines, all of them with containers: real engines, real HAProxy, and users who never stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from provision import rollout
from tests.deploy.docker_host import DockerHost, another
from tests.deploy.fleet import PORT, Fleet
from tests.deploy.visitors import visitors
from tests.faults.hooks import until
from tests.testbed.slots import Slot

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def fleet(docker_host: DockerHost, image: str, slot: Slot, tmp_path: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        edge, second = (stack.enter_context(another(slot, docker_host.authority)) for _ in range(2))
        yield Fleet(tmp_path / "project", edge.host, [docker_host.host, second.host], image=image)


def test_a_deploy_a_kill_and_a_machine_that_goes_cost_nobody_a_request(fleet: Fleet) -> None:
    fleet.declare("1")
    fleet.up("edge")
    fleet.up()
    assert set(fleet.peers().values()) == {True}
    assert len(fleet.peers()) == 2
    with visitors(fleet) as met:
        fleet.declare("2")
        fleet.up()
    assert met["versions"][-1] == "2"
    assert all(each.plan.unchanged for each in fleet.up())
    assert rollout.status(fleet.deployment())[0].state == "serving"
    first, second = fleet.machines
    asked = ["curl", "-sk", "-m", "5", f"https://{first.address}:{PORT}/"]
    assert fleet.host.exec(asked, check=False).returncode != 0, "who is no front of it is let in"

    with visitors(fleet, streams=0):
        fleet.kill(second, "haproxy")
    until(lambda: not second.exec(["pgrep", "-x", "haproxy"], check=False).returncode, "its engine started it again")
    with visitors(fleet):
        rollout.down(fleet.deployment(), hosts=[fleet.deployment().hosts[1].name])
    assert set(fleet.peers()) == {first.address}
    fleet.kill(fleet.host, "haproxy")  # who leads there comes back as it was
    until(lambda: _answers(fleet) == "200", "the front is there again")


def _answers(fleet: Fleet) -> str:
    asked = ["curl", "-s", "-m", "60", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{PORT}/"]
    return fleet.host.exec(asked, check=False).stdout
