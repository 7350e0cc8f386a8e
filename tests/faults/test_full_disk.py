"""The disk fills up under a transaction, on its way forward or back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import testbed
from tests.deploy.world import World
from tests.faults.test_killed_at_each_step import BACK, COMMITTING, FORWARD
from tests.faults.trial import Kill, Trial
from tests.testbed import Kind, TestHost
from tests.testbed.fixtures import Place
from tests.testbed.slots import Slot

pytestmark = pytest.mark.root

_FILL = "/root/fill.py"
COMMITTED, REFUSED, FAILED, PUT_BACK, DEGRADED = "committed", "refused", "failed", "put back", "degraded"
# When it fills up, and how the transaction ends. What a transaction writes is small, and the room that it has reserved
# is enough for it: only where that was given back already may there be none, if the file system has it by then.
MOMENTS: dict[str, tuple[Kill, set[str]]] = {
    "before it looks": (FORWARD["staging a launch folder"][0], {REFUSED}),
    "staging a launch folder": (Kill("?mkdir,?mkdirat", 1, ("{candidate}",)), {FAILED}),
    "having begun the journal": (FORWARD["having begun the journal"][0], {COMMITTED}),
    "announcing what is touched": (FORWARD["announcing what is touched"][0], {COMMITTED}),
    "having committed": (COMMITTING["having committed"], {COMMITTED, DEGRADED}),
    "announcing the way back": (BACK["announcing the way back"], {PUT_BACK}),
    "switching a launcher back": (BACK["switching a launcher back"], {PUT_BACK}),
}


@pytest.fixture(scope="module", params=["supervisord", "systemd"])
def small(request: pytest.FixtureRequest, slot: Slot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """Two versions on a host with a small disk."""
    host = TestHost(Kind(request.param), slot, workspace_size=128 << 20)
    place = Place(0)
    folder = tmp_path_factory.mktemp("small") / "project"
    prefix = {"name_prefix": f"{place.name}-"} if request.param == "supervisord" else {}
    made = Trial(World(folder, host, request.param, place.path, place.port(), place.name, target=prefix))
    made.prepare()
    host.write(_FILL, (Path(testbed.__file__).with_name("fill.py")).read_bytes())
    yield made
    host.destroy()


@pytest.fixture(autouse=True)
def room(small: Trial) -> Iterator[None]:
    """One test's full disk is not the next one's."""
    yield
    small.world.host.free_disk()


@pytest.mark.sampled
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_disk_that_fills_up_leaves_one_version_whole_or_says_degraded(small: Trial, moment: str) -> None:
    old, new = small.version, small.other
    kill, endings = MOMENTS[moment]
    full = {**kill.request(small.place()), "then": f"python3 {_FILL} /workspace 0"}
    small.fail(new, really=moment in BACK)

    seen = small.kill(new, full, recover=False)

    small.fail(new, really=False)
    last = seen["events"][-1]
    ended = str(last.get("kind") or last["outcome"])
    assert ended in endings, last
    assert "the agent failed" not in last.get("what", "")
    assert small.world.status().state == ("interrupted" if ended == DEGRADED else "serving")
    if ended == DEGRADED:
        small.assert_safe(seen["broken"], proven={old, new})
    else:
        small.assert_whole(small.look(), new if ended == COMMITTED else old)
    small.world.host.free_disk()
    small.declare(new)
    small.world.up()
    small.assert_whole(small.look(), new)
