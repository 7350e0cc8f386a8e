"""What a host says of itself at night: `serving` is proven, as the last commit says, and does not restart."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from provision import rollout
from provision.cli.render.status import entry_lines, status_lines
from provision.errors import Degraded, Exit, PutBack
from tests.deploy.world import World, web
from tests.faults.hooks import laptop, slow, until, worker

pytestmark = pytest.mark.root

# It answers its checks, and dies five seconds after it was started.
DIES = ["sh", "-c", 'timeout -s KILL 5 python3 server.py "$1"', "sh", "${port}"]
SAYS_A_LOT = ["sh", "-c", "for n in 1 2 3 4 5 6 7 8 9; do echo line $n; echo; done; echo the reason; exit 3"]

ON_SUPERVISORD = pytest.mark.parametrize("platform", ["supervisord"])


def kill(world: World) -> None:
    """End the process of web as a crash would; its supervisor starts it again."""
    before = world.get()["pid"]
    world.host.exec(["kill", "-KILL", str(before)])
    until(lambda: world.answers() and world.get()["pid"] != before, "it was started again")


def told(world: World) -> str:
    return "\n".join(status_lines(world.status()))


def test_a_program_that_is_started_again_and_again_is_not_serving_until_it_is_deployed_anew(world: World) -> None:
    world.declare({"web": web(world.port), "other": web(world.port + 1)})
    world.up()
    assert world.status().state == "serving"

    kill(world)
    kill(world)

    status = world.status()
    assert (status.state, status.exit) == ("restarting", Exit.FAILED)
    assert {name: each["times"] for name, each in status.restarted.items()} == {world.program("web"): 2}
    assert "was started again 2 times within ten minutes" in told(world)
    assert "next: deploy logs web; then deploy up with what was mended" in told(world)
    world.web("2")
    world.up()
    assert (world.status().state, world.status().restarted) == ("serving", {})


def is_never_serving(world: World) -> None:
    """Deploy what dies every five seconds, and look at it for a while."""
    world.declare({"web": web(world.port, command=DIES)})
    world.up()
    until(lambda: world.status().state != "serving", "it died")

    states = set()
    for _ in range(20):
        states.add(world.status().state)
        time.sleep(1)

    assert states <= {"restarting", "failing"}
    assert "restarting" in states


@pytest.mark.slow
def test_a_service_that_dies_every_five_seconds_is_never_serving(world: World) -> None:
    is_never_serving(world)


def test_what_was_changed_on_the_host_has_a_word_of_its_own_and_up_puts_it_right(world: World) -> None:
    world.web("1")
    world.up()
    folder = "/etc/systemd/system" if world.platform == "systemd" else "/etc/supervisor/conf.d"
    manifest = world.state()["programs"][world.program("web")]["manifest"]
    world.host.exec(["sh", "-c", f"echo '# by hand' >> {folder}/{manifest}"])

    status = world.status()

    assert (status.state, status.exit) == ("drifted", Exit.FAILED)
    assert status.drift == [f"{world.program('web')}: {manifest} was changed on the host"]
    assert "next: deploy plan, which shows how deploy up would put it right" in told(world)
    world.up()
    assert world.status().state == "serving"


@ON_SUPERVISORD
def test_the_history_tells_of_deploys_that_failed_and_why_without_their_secrets(world: World) -> None:
    world.web("1", secrets=["TOKEN"])
    (world.folder / ".env").write_text("TOKEN=quite-a-secret\n")
    world.up()
    world.declare({"web": web(world.port, command=["sh", "-c", 'exec "/no/$TOKEN"'], secrets=["TOKEN"])})
    (world.folder / ".env").write_text("TOKEN=quite-a-secret\n")
    with pytest.raises(PutBack):
        world.up()

    committed, failed = rollout.history(world.deployment())

    assert (committed["outcome"], failed["outcome"], failed["kind"]) == ("committed", "put back", "up")
    assert failed["channels"]["stable"] != committed["channels"]["stable"]
    assert "exited with status 127" in failed["why"]
    assert f"The old release {world.stable[:12]} serves." in failed["why"]
    assert "quite-a-secret" not in world.host.exec(["cat", f"{world.path}/.deploy/failed.json"]).stdout
    assert "  last: -  " in told(world)
    assert entry_lines(failed)[1].strip() == failed["why"]


@ON_SUPERVISORD
def test_the_history_tells_of_a_deploy_whose_worker_was_cut_off(world: World) -> None:
    world.web("1")
    world.up()
    slow(world, "2", 1000)
    with laptop(world):
        world.host.kill(worker(world), 9)
        until(lambda: world.status().state != "deploying", "the worker is gone")
    assert (world.status().state, world.status().exit) == ("interrupted", Exit.FAILED)
    assert "next: deploy unlock" in told(world)

    rollout.unlock(world.deployment(), yes=True)

    assert world.status().state == "serving"
    entry = rollout.history(world.deployment())[-1]
    assert entry["outcome"] == "interrupted"
    assert entry["why"].startswith("Its worker on the host was cut off after: ")


def degraded(world: World) -> str:
    """Neither the new release nor the old one works; the file that the old one lacks."""
    world.web("0")
    world.up()
    (world.folder / "needed.txt").write_text("x")
    needs_it = ["sh", "-c", 'cat needed.txt && exec python3 server.py "$1"', "sh", "${port}"]
    world.declare({"web": web(world.port, "1", command=needs_it, switch="in-place")})
    old = world.up().plan.release
    lacks = f"{world.path}/releases/{old}/needed.txt"
    world.host.exec(["rm", "-f", lacks])
    world.web("2", env={"FAIL": "exit"}, switch="in-place")
    with pytest.raises(Degraded) as failure:
        world.up()
    assert failure.value.next_step.endswith("deploy rollback, deploy up with what was mended, or deploy unlock")
    return lacks


def _up(world: World, _: str) -> str:
    world.web("3")
    world.up()
    return "3"


def _rollback(world: World, _: str) -> str:
    world.rollback()
    return "0"


def _unlock(world: World, lacks: str) -> str:
    world.host.exec(["sh", "-c", 'echo x > "$1"', "sh", lacks])
    rollout.unlock(world.deployment(), yes=True)
    return "1"


@pytest.mark.slow
@pytest.mark.parametrize("way", [_up, _rollback, _unlock])
def test_each_way_out_that_a_degraded_host_is_told_of_works(world: World, way: Callable[[World, str], str]) -> None:
    lacks = degraded(world)
    status = world.status()
    assert (status.state, status.exit) == ("degraded", Exit.DEGRADED)
    assert "deploy rollback" in status.next
    assert rollout.history(world.deployment())[-1]["outcome"] == "degraded"

    serves = way(world, lacks)

    assert (world.version, world.status().state) == (serves, "serving")


def test_the_report_of_a_failed_deploy_ends_with_the_last_lines_of_the_log(world: World) -> None:
    world.declare({"web": web(world.port, command=SAYS_A_LOT)})

    with pytest.raises(PutBack) as failure:
        world.up()

    assert "the reason" in failure.value.log  # systemd adds how it ended
    assert "line 1" not in failure.value.log
