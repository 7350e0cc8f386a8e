"""What can't be put back either: said loudly, kept in mind, and mended by the next good release."""

from __future__ import annotations

import pytest

from provision.errors import Degraded, Exit
from tests.deploy.world import World, web

pytestmark = pytest.mark.root


def test_what_cannot_be_put_back_is_degraded_and_the_next_good_up_mends_it(world: World) -> None:
    (world.folder / "needed.txt").write_text("x")
    needs_it = ["sh", "-c", 'cat needed.txt && exec python3 server.py "$1"', "sh", "${port}"]
    world.declare({"web": web(world.port, "1", command=needs_it, switch="in-place")})
    old = world.up().plan.release
    world.host.exec(["rm", "-f", f"{world.path}/releases/{old}/needed.txt"])

    world.web("2", env={"FAIL": "exit"}, switch="in-place")
    with pytest.raises(Degraded) as failure:
        world.up()

    assert failure.value.exit is Exit.DEGRADED
    assert "Putting the old release back failed too" in failure.value.why
    assert world.exists(".deploy/journal")
    assert world.status().state == "degraded"
    assert world.stable == old
    world.web("3")
    world.up()
    assert world.version == "3"
    assert world.status().state == "serving"
    assert not world.exists(".deploy/journal")
