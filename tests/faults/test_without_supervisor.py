"""Programs that no supervisor knows: it was killed, or they escaped from it. The verbs know them, and end them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from provision import rollout
from provision.errors import PutBack, Refused
from tests.deploy.world import World, web
from tests.faults.hooks import at, laptop, slow, until
from tests.testbed import Kind, TestHost
from tests.testbed.fixtures import MakeHost, Place
from tests.testbed.slots import Slot

pytestmark = pytest.mark.root

_ESCAPES = {
    # A session of its own, and no parent that is ours.
    "double fork": "import os, runpy, sys; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); "
    "runpy.run_path(sys.argv[0])",
    "setsid": "import subprocess, sys, time; subprocess.Popen(['setsid', 'python3', *sys.argv]); time.sleep(1e6)",
}
_ESCAPE = "import sys; sys.argv = sys.argv[1:]; "


def _worlds(host: TestHost, folder: Path) -> Callable[[], World]:
    def make() -> World:
        place = Place(len(made))
        made.append(place)
        target = {"name_prefix": f"{place.name}-"}
        path = place.path if host.user == "root" else f"/home/{host.user}/{place.name}"
        return World(folder / place.name, host, "supervisord", path, place.port(), place.name, target=target)

    made: list[Place] = []
    return make


@pytest.fixture(scope="module", params=[Kind.SUPERVISORD, pytest.param(Kind.BARE_USER, marks=pytest.mark.slow)])
def new_world(
    request: pytest.FixtureRequest, slot: Slot, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], World]:
    """A project on a host whose supervisord may be killed: the host's, or one that a deploy started for its user."""
    host = TestHost(request.param, slot)
    request.addfinalizer(host.destroy)
    return _worlds(host, tmp_path_factory.mktemp("worlds"))


def _kill_supervisord(world: World) -> list[str]:
    """The command that had started it."""
    found = [each for each in world.host.processes() if "supervisord" in " ".join(each.argv) and "-c" in each.argv]
    process = min(found, key=lambda each: each.pid)  # a program of its own is called like it until it is executed
    world.host.kill(process.pid, 9)
    return list(process.argv)


def _servers(world: World) -> list[int]:
    return world.host.pids("server.py", str(world.port))


def test_a_killed_supervisord_is_told_planned_and_mended_by_the_next_up(new_world: Callable[[], World]) -> None:
    """Hole 7: the kernel killed supervisord, and its programs live on."""
    world, neighbour = new_world(), new_world()
    for each in (neighbour, world):
        each.web("1")
        each.up()
    orphans = {*_servers(world), *_servers(neighbour)}
    _kill_supervisord(world)

    assert world.answers()
    assert world.status().state == "unsupervised"
    ((step,),) = [item.plan.steps for item in rollout.plan(world.deployment())]
    assert (step.do, step.why) == ("restart", "it runs without its supervisor")
    world.up()

    assert any("was killed, and" in event.get("text", "") for event in world.events)
    assert (world.version, world.status().state) == ("1", "serving")
    # It is the supervisord of both, so the other project's programs are under it again as well.
    # Not proven anew, and for a minute told as started again.
    until(lambda: neighbour.answers() and neighbour.status().state == "restarting", "the neighbour serves")
    assert not orphans & {*_servers(world), *_servers(neighbour)}
    assert world.up().outcome == "unchanged"


def test_unlock_puts_programs_under_a_supervisor_again(new_world: Callable[[], World]) -> None:
    """Hole 7: `unlock` had nothing to recover. This program has nothing in its environment that tells whose it is."""
    world = new_world()
    world.web("1", command=["env", "-i", "PATH=/usr/bin:/bin", "VERSION=1", "python3", "server.py", "${port}"])
    world.up()
    for _ in range(2):
        _kill_supervisord(world)

        (answer,) = rollout.unlock(world.deployment())

        assert answer["outcome"] == f"{world.program('web')}: under supervisord again"
        assert (world.version, world.status().state) == ("1", "serving")


@pytest.mark.slow
def test_down_ends_what_has_no_supervisor(new_world: Callable[[], World]) -> None:
    """Hole 7: orphans stay after `down`."""
    world = new_world()
    world.web("1")
    world.up()
    _kill_supervisord(world)

    world.down()

    assert not _servers(world)
    assert world.status().state == "nothing"


@pytest.mark.slow
def test_what_keeps_the_port_from_a_supervisord_that_somebody_started_again_is_ended(
    new_world: Callable[[], World],
) -> None:
    """Hole 7: systemd starts supervisord again, and its programs fail because they still run."""
    world = new_world()
    world.web("1")
    world.up()
    (orphan,) = _servers(world)

    world.host.exec(_kill_supervisord(world), user=world.host.user)
    assert world.status().state == "unsupervised"
    world.up()

    assert orphan not in _servers(world)
    assert (world.version, world.status().state) == ("1", "serving")


def _started_again_by_others(world: World) -> None:
    """Its supervisord is killed, and somebody starts it again, whose programs find their ports taken."""
    world.host.exec(_kill_supervisord(world), user=world.host.user)
    until(lambda: world.status().state == "unsupervised", "it gives up to start them")


@pytest.mark.parametrize("switch", ["in-place", "auto"])
def test_an_up_that_fails_puts_back_what_ran_on_beside_a_supervisord_that_somebody_started_again(
    new_world: Callable[[], World], switch: str
) -> None:
    """It had served, and was taken for something that did not run: nothing served then."""
    world = new_world()
    world.web("1")
    old = world.up().plan.release
    _started_again_by_others(world)
    world.web("2", env={"VERSION": "2", "FAIL": "exit"}, switch=switch)

    with pytest.raises(PutBack, match=f"The old release {old[:12]} serves"):
        world.up()

    assert (world.version, world.stable, world.status().state) == ("1", old, "serving")


def test_unlock_puts_programs_under_a_supervisord_that_somebody_started_again(new_world: Callable[[], World]) -> None:
    """`status` sends there, and it had nothing to recover."""
    world = new_world()
    world.web("1")
    world.up()
    _started_again_by_others(world)

    (answer,) = rollout.unlock(world.deployment())

    assert answer["outcome"] == f"{world.program('web')}: under supervisord again"
    assert (world.version, world.status().state) == ("1", "serving")


@pytest.mark.slow
def test_a_supervisord_killed_during_a_proof_leaves_nothing_unproven(new_world: Callable[[], World]) -> None:
    """Hole 7: an unproven version kept serving."""
    world = new_world()
    world.web("1")
    old = world.up().plan.release
    check = {"http": "/health", "timeout": "20s", "passes": 100, "interval": "50ms"}
    world.web("2", switch="in-place", check=check)

    def kill() -> None:
        until(lambda: world.answers() and world.version == "2", "the new one serves, and is being proven")
        _kill_supervisord(world)

    at(world, kill, event="step", step="start")
    with pytest.raises(PutBack, match="lost its supervisor"):
        world.up()

    assert (world.version, world.stable, world.status().state) == ("1", old, "serving")


@pytest.mark.parametrize("how", ["double fork", pytest.param("setsid", marks=pytest.mark.slow)])
def test_a_process_that_escapes_is_ended_with_its_program(new_world: Callable[[], World], how: str) -> None:
    """Hole 7: `up` and `down` ended with "processes … are still there"."""
    world = new_world()
    program = ["python3", "-c", _ESCAPE + _ESCAPES[how], "server.py", "${port}"]
    if how == "double fork":
        keep = 'python3 -c "$1" server.py "$2"; exec sleep 1000'
        program = ["sh", "-c", keep, "sh", _ESCAPE + _ESCAPES[how], "${port}"]
    for version in "12":
        world.declare({"web": web(world.port, version, command=program, switch="in-place", stop_timeout="2s")})
        world.up()
        assert world.version == version
    world.down()

    assert not [process for process in world.host.processes() if str(world.port) in process.argv]


@pytest.mark.slow
def test_a_program_that_goes_to_the_background_is_told_so_and_ended(new_world: Callable[[], World]) -> None:
    """Hole 7: a program that daemonizes was left behind."""
    world = new_world()
    daemon = ["python3", "-c", _ESCAPE + _ESCAPES["double fork"], "server.py", "${port}"]
    world.declare({"web": web(world.port, command=daemon, stop_timeout="2s")})

    with pytest.raises(PutBack, match="left processes in the background"):
        world.up()

    assert not _servers(world)
    assert world.up_after_repair() == "1"


def test_a_mark_that_another_account_forges_is_not_believed(new_world: Callable[[], World]) -> None:
    """Hole 7: an account beside us starts its own process with the same environment; it is not ours to end."""
    world = new_world()
    world.web("1")
    world.up()
    (mark,) = [p.environ for p in world.host.processes() if "server.py" in p.argv and str(world.port) in p.argv]
    forged = {name: value for name, value in mark.items() if name.startswith("SUPERVISOR_")}
    assert len(forged) == 4
    world.down()
    listen = 'setsid python3 -m http.server --bind 127.0.0.1 "$1" >/dev/null 2>&1 &'
    other = "root" if world.host.user == "ann" else "ann"
    world.host.exec(["sh", "-c", listen, "sh", str(world.port)], user=other, env=forged)
    until(lambda: bool(world.host.pids("http.server", str(world.port))), "it listens")

    with pytest.raises(Refused, match=f"port {world.port} of {world.program('web')} is taken by"):
        world.up()

    (thief,) = world.host.pids("http.server", str(world.port))
    world.host.kill(thief)


@pytest.mark.slow
def test_a_systemd_that_starts_itself_anew_meanwhile_is_asked_again(make_host: MakeHost, tmp_path: Path) -> None:
    """Hole 7: `systemctl daemon-reexec`, as an update of systemd does it, hangs up on whoever asks."""
    host = make_host(Kind.SYSTEMD)
    world = World(tmp_path / "project", host, "systemd", "/workspace/p", 3000, "p")
    world.web("1")
    world.up()
    again_and_again = "while sleep 0.3; do systemctl daemon-reexec; done"
    with subprocess.Popen(host.inside(["sh", "-c", again_and_again]), stderr=subprocess.DEVNULL) as loop:
        try:
            for version in "23":
                world.web(version)
                world.up()
                assert (world.version, world.status().state) == (version, "serving")
            world.down()
        finally:
            loop.kill()

    assert world.status().state == "nothing"


@pytest.mark.slow
def test_the_next_login_brings_back_a_user_s_systemd_that_was_killed(make_host: MakeHost, tmp_path: Path) -> None:
    """Hole 7: all that it had started ends with it, and so does the worker of a deploy."""
    host = make_host(Kind.SYSTEMD, linger=True)
    units = {"user_units": True}
    world = World(tmp_path / "project", host, "systemd", "/home/ann/p", 3000, "p", user="ann", target=units)
    world.web("1")
    old = world.up().plan.release
    slow(world, "2", 1000)

    with laptop(world):
        (manager,) = [process.pid for process in host.processes() if process.argv[-1:] == ("--user",)]
        host.kill(manager, 9)
        until(lambda: not _servers(world), "nothing of it runs")
    until(lambda: world.status().state == "serving", "the login has started it, and its hook recovered")

    assert (world.version, world.stable) == ("1", old)


def test_down_ends_what_a_killed_supervisord_has_left_in_a_folder_that_cannot_be_trusted(
    new_world: Callable[[], World],
) -> None:
    """Hole 22: all was absent to it, so their manifests went, they ran on, and it said that it was done."""
    world = new_world()
    world.web("1")
    world.up()
    _kill_supervisord(world)
    world.host.exec(["chmod", "777", world.path])
    assert _servers(world)

    assert world.down().outcome == "committed"

    assert not _servers(world)
