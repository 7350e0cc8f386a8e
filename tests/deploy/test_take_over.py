"""Programs that an image's own configuration starts, replaced on purpose, and put back where the deploy fails."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from provision import rollout
from provision.errors import PutBack, Refused
from tests.deploy.world import World, web
from tests.faults.hooks import laptop, until, worker
from tests.testbed import Kind, TestHost
from tests.testbed.fixtures import MakeHost, Place

pytestmark = pytest.mark.root

MAIN = "/etc/supervisor/supervisord.conf"
UNIT = "/etc/systemd/system/legacy.service"


def on(host: TestHost, place: Place, tmp_path: Path, **target: object) -> World:
    platform = "systemd" if host.kind is Kind.SYSTEMD else "supervisord"
    return World(tmp_path / "project", host, platform, place.path, place.port(), place.name, target=dict(target))


def serves_theirs(world: World) -> bool:
    ran = world.host.exec(["curl", "-fsS", "-m", "5", f"http://127.0.0.1:{world.port}/mark"], check=False)
    return ran.stdout == "theirs"


def start_theirs(world: World, *names: str) -> None:
    """Have supervisord.conf itself start them, on our port the first, as images for rent do."""
    sections = ""
    for at, name in enumerate(names):
        command = f"python3 -m http.server --bind 127.0.0.1 --directory /opt/theirs {world.port + at}"
        sections += f"\n[program:{name}]\ncommand={command}\nautorestart=true\n"
    world.host.write("/opt/theirs/mark", "theirs")
    world.host.write(MAIN, world.host.read(MAIN).decode() + sections)
    world.host.exec(["supervisorctl", "update"])
    until(lambda: serves_theirs(world), "theirs serves")


def known(world: World) -> str:
    return world.host.exec(["supervisorctl", "status"], check=False).stdout


def test_a_program_of_supervisord_conf_is_refused_by_key_then_replaced_and_stays_so(
    make_host: MakeHost, place: Place, tmp_path: Path
) -> None:
    world = on(make_host(Kind.SUPERVISORD), place, tmp_path)
    start_theirs(world, "web", "other")
    before = world.host.read(MAIN)
    world.web("1")
    with pytest.raises(Refused) as refused:
        world.up()
    assert 'take_over = ["web"]' in refused.value.next_step
    assert serves_theirs(world)

    world.target["take_over"] = ["web"]
    world.declare({"web": web(world.port, "1", command=["false"])})
    (planned,) = rollout.plan(world.deployment())
    assert planned.plan.takes == (f"web ({MAIN})",)
    with pytest.raises(PutBack, match="web exited") as failed:
        world.up()
    assert f"web of {MAIN} runs as before" in failed.value.why
    until(lambda: serves_theirs(world), "theirs is back")
    assert world.host.read(MAIN) == before

    world.web("1")
    world.up()
    assert world.version == "1"
    assert rollout.history(world.deployment())[-1]["took_over"] == ["web"]
    assert world.up().outcome == "unchanged"
    assert "other" in known(world)
    world.host.exec(["supervisorctl", "reload"])
    until(lambda: world.answers(), "ours serves after a restart of supervisord")
    assert world.version == "1"
    world.web("2")
    world.up()
    assert world.version == "2"


def test_a_program_of_a_folder_all_of_whose_files_are_included_is_gone_for_good(
    make_host: MakeHost, place: Place, tmp_path: Path
) -> None:
    world = on(make_host(Kind.SUPERVISORD), place, tmp_path, take_over=["web"])
    main = world.host.read(MAIN).decode()
    (files,) = [line for line in main.splitlines() if line.startswith("files")]
    world.host.write(MAIN, main.replace(files, files + " /etc/supervisor/all/*"))
    command = f"python3 -m http.server --bind 127.0.0.1 --directory /opt/theirs {world.port}"
    world.host.write("/opt/theirs/mark", "theirs")
    world.host.write("/etc/supervisor/all/web", f"[program:web]\ncommand={command}\n")
    world.host.exec(["supervisorctl", "reload"])
    until(lambda: serves_theirs(world), "theirs serves")

    world.web("1")
    world.up()
    world.host.exec(["supervisorctl", "reload"])
    until(lambda: world.answers(), "ours serves after a restart of supervisord")

    assert world.version == "1"


@pytest.mark.slow
def test_who_has_the_port_under_another_name_is_named_and_replaced_though_the_worker_is_killed(
    make_host: MakeHost, place: Place, tmp_path: Path
) -> None:
    world = on(make_host(Kind.SUPERVISORD), place, tmp_path)
    start_theirs(world, "fastapi")
    before = world.host.read(MAIN)
    world.web("1")
    with pytest.raises(Refused, match="which supervisord starts as 'fastapi'"):
        world.up()
    world.target["take_over"] = ["fastapi"]
    world.declare({"web": web(world.port, "1", command=["sh", "-c", "sleep 1007"])})
    with laptop(world, event="step", step="start"):
        assert not serves_theirs(world)
        world.host.exec(["kill", "-9", str(worker(world))])
        rollout.unlock(World.deployment(world), yes=True)

    until(lambda: serves_theirs(world), "theirs is back")
    assert world.host.read(MAIN) == before
    world.web("1")
    world.up()
    assert world.version == "1"
    assert "fastapi" not in known(world)


@pytest.mark.parametrize("unit", [UNIT, pytest.param("/opt/theirs/legacy.service", id="a link to the project's own")])
def test_a_unit_of_somebody_elses_is_disabled_and_comes_back(
    unit: str, systemd_host: TestHost, place: Place, tmp_path: Path
) -> None:
    world = on(systemd_host, place, tmp_path)
    world.host.write("/opt/theirs/mark", "theirs")
    command = f"/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory /opt/theirs {world.port}"
    world.host.write(unit, f"[Service]\nExecStart={command}\n[Install]\nWantedBy=multi-user.target\n")
    world.host.exec(["systemctl", "daemon-reload"])
    world.host.exec(["systemctl", "enable", "--now", unit])
    try:
        until(lambda: serves_theirs(world), "theirs serves")
        world.web("1")
        with pytest.raises(Refused, match=r"which systemd starts as 'legacy\.service'"):
            world.up()
        world.target["take_over"] = ["legacy"]
        world.declare({"web": web(world.port, "1", command=["false"])})
        with pytest.raises(PutBack):
            world.up()
        until(lambda: serves_theirs(world), "theirs is back")
        assert _enabled(world) == "enabled"

        world.web("1")
        world.up()
        assert world.version == "1"
        assert _enabled(world) == ("disabled" if unit == UNIT else "")  # systemd no longer knows a link that is gone
    finally:
        world.host.exec(["systemctl", "disable", "--now", "legacy"], check=False)
        world.host.exec(["rm", "-f", UNIT, unit])


def _enabled(world: World) -> str:
    ran: subprocess.CompletedProcess[str] = world.host.exec(["systemctl", "is-enabled", "legacy"], check=False)
    return ran.stdout.strip()
