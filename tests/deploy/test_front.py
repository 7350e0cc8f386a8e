"""One front for many machines: real hosts, real HAProxy on each, and users who never stop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from provision import rollout
from tests.deploy.fleet import PORT, Fleet
from tests.deploy.visitors import visitors
from tests.testbed import Kind
from tests.testbed.fixtures import MakeHost

pytestmark = pytest.mark.root


@pytest.fixture
def fleet(make_host: MakeHost, tmp_path: Path) -> Iterator[Fleet]:
    edge, *machines = [make_host(Kind.SUPERVISORD) for _ in range(3)]
    yield Fleet(tmp_path / "project", edge, machines)


def test_a_deploy_over_all_machines_costs_nobody_a_request(fleet: Fleet) -> None:
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
    refused = fleet.host.exec(["curl", "-sk", "-m", "5", f"https://{fleet.machines[0].address}:{PORT}/"], check=False)
    assert refused.returncode != 0
    assert rollout.status(fleet.deployment())[0].state == "serving"
