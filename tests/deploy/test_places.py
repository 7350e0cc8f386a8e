"""Hosts of every kind: no daemon yet, no root, sudo with a password, the user's own systemd, many at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision import rollout
from provision.errors import Refused, SomeHostsFailed
from tests.deploy.world import World, web
from tests.testbed import Kind, TestHost
from tests.testbed.fixtures import MakeHost, Place

pytestmark = pytest.mark.root


def new_world(tmp_path: Path, host: TestHost, place: Place, platform: str, path: str = "", **target: object) -> World:
    return World(
        tmp_path / "project", host, platform, path or place.path, place.port(), place.name, target=dict(target)
    )


def test_a_supervisord_that_does_not_run_is_started_and_comes_back_after_a_reboot(
    make_host: MakeHost, place: Place, tmp_path: Path
) -> None:
    host = make_host(Kind.BARE)
    world = new_world(tmp_path, host, place, "supervisord")
    world.web("1")
    world.up()
    assert world.version == "1"

    host.reboot()

    host.exec(["sh", "-c", f"for i in $(seq 100); do curl -s 127.0.0.1:{world.port} && exit; sleep 0.1; done"])
    assert world.version == "1"
    assert world.up().outcome == "unchanged"


def test_an_ordinary_user_s_own_supervisord_works_and_comes_back_after_a_reboot(
    make_host: MakeHost, place: Place, tmp_path: Path
) -> None:
    host = make_host(Kind.BARE_USER)
    world = new_world(tmp_path, host, place, "supervisord", path=f"/home/ann/{place.name}")
    world.web("1")
    world.up()
    assert world.get()["uid"] == host.uid("ann")
    assert host.pids("supervisord", "/home/ann/.local/state/deploy")

    host.reboot()

    host.exec(["sh", "-c", f"for i in $(seq 100); do curl -s 127.0.0.1:{world.port} && exit; sleep 0.1; done"])
    assert world.version == "1"


def test_a_user_s_own_systemd_works_and_survives_a_reboot(make_host: MakeHost, place: Place, tmp_path: Path) -> None:
    host = make_host(Kind.SYSTEMD, linger=True)
    world = new_world(tmp_path, host, place, "systemd", path=f"/home/ann/{place.name}", user_units=True)
    world.user = "ann"
    world.web("1")

    world.up()

    assert world.get()["uid"] == host.uid("ann")
    host.reboot()
    host.exec(["sh", "-c", f"for i in $(seq 100); do curl -s 127.0.0.1:{world.port} && exit; sleep 0.1; done"])
    assert world.version == "1"


def test_without_linger_the_refusal_names_the_command(make_host: MakeHost, place: Place, tmp_path: Path) -> None:
    host = make_host(Kind.SYSTEMD)
    world = new_world(tmp_path, host, place, "systemd", path=f"/home/ann/{place.name}", user_units=True)
    world.user = "ann"
    world.web("1")

    with pytest.raises(Refused) as refusal:
        world.up()

    assert "loginctl enable-linger ann" in refusal.value.next_step


def test_sudo_with_a_password_is_asked_for_once_and_deploys_system_units(
    make_host: MakeHost, place: Place, tmp_path: Path
) -> None:
    host = make_host(Kind.SYSTEMD, sudo=True)
    world = new_world(tmp_path, host, place, "systemd", sudo=True)
    world.user = "ann"
    world.web("1")
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return "annspassword"

    world.up(ask=ask)

    assert asked == [f"sudo password on {host.address}: "]
    assert world.version == "1"
    assert host.exec(["stat", "-c", "%U", f"{world.path}/stable/server.py"]).stdout.strip() == "root"
    assert not host.pids("annspassword")


def test_sudo_without_anybody_to_ask_is_refused(make_host: MakeHost, place: Place, tmp_path: Path) -> None:
    world = new_world(tmp_path, make_host(Kind.SYSTEMD, sudo=True), place, "systemd", sudo=True)
    world.user = "ann"
    world.web("1")

    with pytest.raises(Refused, match="sudo asks for a password"):
        world.up()


def test_a_service_runs_as_its_own_user(world: World) -> None:
    world.declare({"web": web(world.port, user="www-data", secrets=["TOKEN"])}, env="TOKEN=abc\n")

    world.up()

    assert world.get()["uid"] == world.host.uid("www-data")
    assert world.get()["env"]["TOKEN"] == "abc"


def test_an_unknown_user_is_refused_before_anything_changes(world: World) -> None:
    world.web("1")
    world.up()
    world.web("2", user="nobody-here")

    with pytest.raises(Refused, match="user 'nobody-here' does not exist"):
        world.up()

    assert world.version == "1"


def test_two_projects_on_one_supervisor_leave_each_other_alone(world: World, tmp_path: Path) -> None:
    world.web("1")
    world.up()
    pid = world.pid("web")
    name = world.name + "b"
    target = {"name_prefix": f"{name}-"} if world.platform == "supervisord" else {}
    other = World(
        tmp_path / "other", world.host, world.platform, f"/workspace/{name}", world.port + 5, name, target=target
    )

    other.web("2")
    other.up()
    other.down()

    assert world.pid("web") == pid
    assert world.up().outcome == "unchanged"


def test_a_program_name_that_another_project_has_is_refused_and_the_way_out_is_told(
    supervisord_host: TestHost, place: Place, tmp_path: Path
) -> None:
    first = new_world(tmp_path / "a", supervisord_host, place, "supervisord", name_prefix="same-")
    first.web("1")
    first.up()
    second = World(
        tmp_path / "b",
        supervisord_host,
        "supervisord",
        place.path + "b",
        place.port(3),
        place.name + "b",
        target={"name_prefix": "same-"},
    )
    second.web("2")

    with pytest.raises(Refused) as refusal:
        second.up()

    assert "'same-web' is taken" in refusal.value.what
    assert "name_prefix" in refusal.value.next_step
    assert first.version == "1"


def test_a_broken_file_of_a_neighbour_is_named_and_not_touched(
    make_host: MakeHost, place: Place, tmp_path: Path
) -> None:
    host = make_host(Kind.SUPERVISORD)
    world = new_world(tmp_path, host, place, "supervisord")
    world.web("1")
    world.up()
    host.write("/etc/supervisor/conf.d/neighbour.conf", "[program:neighbour]\nautostart=maybe\n")
    world.web("2", switch="in-place")

    with pytest.raises(Exception, match="neighbour") as failure:
        world.up()

    assert "never touched" in str(failure.value)
    assert world.version == "1"
    assert host.read("/etc/supervisor/conf.d/neighbour.conf") == b"[program:neighbour]\nautostart=maybe\n"


def test_a_rollout_stops_at_the_first_host_that_fails_and_reverts_the_others(
    make_host: MakeHost, place: Place, tmp_path: Path
) -> None:
    hosts = [make_host(Kind.SUPERVISORD) for _ in range(3)]
    target = {
        "hosts": [f"root@{host.address}" for host in hosts],
        "rollout": {"canary": 1, "batch": 1, "on_failure": "revert"},
    }
    world = new_world(tmp_path, hosts[0], place, "supervisord", **target)
    known = "".join(f"{host.address} {host.host_key}\n" for host in hosts)
    (world.folder / "known_hosts").write_text(known)
    world.web("1")
    assert [outcome.outcome for outcome in rollout.up(world.deployment())] == ["committed"] * 3

    # On the second host alone, the new release can't listen.
    busy = f"python3 -m http.server --bind 127.0.0.1 {world.port + 1} >/dev/null 2>&1 &"
    hosts[1].exec(["sh", "-c", busy])
    world.declare({"web": web(world.port, "2"), "more": web(world.port + 1, paths=[])})
    with pytest.raises(SomeHostsFailed) as failure:
        rollout.up(world.deployment())

    assert "1 of 3 hosts failed" in failure.value.what
    assert f"{hosts[0].address}: went back" in failure.value.why
    assert "1 hosts were not begun" in failure.value.why
    for host in hosts:
        answer = host.exec(["curl", "-fsS", f"127.0.0.1:{world.port}/"]).stdout
        assert '"version": "1"' in answer
