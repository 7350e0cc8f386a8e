"""The plug is pulled in the middle of a transaction: the boot hook puts the host in order, without any laptop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.world import World
from tests.faults.hooks import laptop, slow, until
from tests.faults.test_killed_at_each_step import BACK, COMMITTING, FORWARD
from tests.faults.trial import Kill, Trial
from tests.testbed import Kind, TestHost
from tests.testbed.fixtures import MakeHost, Place
from tests.testbed.slots import Slot

pytestmark = pytest.mark.root

LEFT: dict[str, tuple[Kill, str]] = {
    "having begun the journal": (FORWARD["having begun the journal"][0], "old"),
    "announcing the next level": (FORWARD["announcing the next level"][0], "old"),
    "having committed": (COMMITTING["having committed"], "new"),
    "writing the state": (COMMITTING["writing the state"], "new"),
    "announcing the way back": (BACK["announcing the way back"], "old"),
}


@pytest.fixture(scope="module", params=["supervisord", "systemd"])
def own(request: pytest.FixtureRequest, slot: Slot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """Two versions on a host that nobody else uses."""
    host = TestHost(Kind(request.param), slot)
    place = Place(0)
    folder = tmp_path_factory.mktemp("restarted") / "project"
    prefix = {"name_prefix": f"{place.name}-"} if request.param == "supervisord" else {}
    made = Trial(World(folder, host, request.param, place.path, place.port(), place.name, target=prefix))
    made.prepare()
    yield made
    host.destroy()


@pytest.mark.sampled
@pytest.mark.parametrize("step", LEFT)
def test_a_host_that_restarts_at_any_step_of_the_journal_serves_again(own: Trial, step: str) -> None:
    kill, serves = LEFT[step]
    versions = {"old": own.version, "new": own.other}
    own.fail(versions["new"], really=step in BACK)
    left = own.kill(versions["new"], kill.request(own.place()), recover=False)
    own.fail(versions["new"], really=False)
    assert left["broken"]["journal"]

    own.world.host.reboot()

    until(lambda: not own.world.exists(".deploy/journal") and own.world.answers(own.world.port + 1), "it is in order")
    until(lambda: own.world.status().state == "serving", "the recovery has let go of its lock, after clearing up")
    seen = own.look()
    own.model_pid = seen["answers"][str(own.world.port + 1)][2]
    own.assert_whole(seen, versions[serves])


def test_a_supervisor_of_an_ordinary_user_comes_back_too(make_host: MakeHost, place: Place, tmp_path: Path) -> None:
    path = f"/home/ann/{place.name}"
    world = World(tmp_path / "project", make_host(Kind.BARE_USER), "supervisord", path, place.port(), place.name)
    world.web("1")
    old = world.up().plan.release
    slow(world, "2", 1000)
    with laptop(world):
        world.host.reboot()

    until(lambda: not world.exists(".deploy/journal") and world.answers(), "it is in order")
    assert (world.version, world.stable) == ("1", old)
    assert world.status().state == "serving"
