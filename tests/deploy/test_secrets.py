"""Secrets reach their service and nothing else."""

from __future__ import annotations

import json

import pytest

from provision.errors import Refused
from tests.deploy.world import World, web

pytestmark = pytest.mark.root

SECRET = "hunter2 'quoted' \"twice\" $HOME `id` %h; #ü"


def declare(world: World, secret: str = SECRET, version: str = "1") -> None:
    quoted = secret.replace("\\", "\\\\").replace("'", "\\'")
    services = {"web": web(world.port, version, secrets=["TOKEN"]), "other": web(world.port + 1, paths=[])}
    world.declare(services, env=f"TOKEN='{quoted}'\n")


def test_a_secret_reaches_its_service_byte_for_byte(world: World) -> None:
    declare(world)

    world.up()

    assert world.get()["env"]["TOKEN"] == SECRET
    assert "TOKEN" not in world.get(port=world.port + 1)["env"]


def test_a_secret_stands_in_no_file_but_the_launcher_s_and_in_no_output(world: World) -> None:
    marker = "s3cr3t-" + world.name
    declare(world, marker)

    world.up()
    plan = [str(event) for event in world.events]

    found = world.host.exec(
        ["grep", "-rlF", "--", marker, "/workspace", "/etc", "/var/lib", "/var/log", "/root", "/tmp", "/home"],
        check=False,
    ).stdout.splitlines()
    run = f"{world.path}/.deploy/run/{world.program('web')}/"
    assert found
    assert all(path.startswith(run) for path in found)
    assert marker not in "".join(plan)
    assert not [process for process in world.host.processes() if any(marker in word for word in process.argv)]
    assert marker not in json.dumps(world.status().project)


def test_the_launcher_may_be_entered_by_its_own_user_alone(world: World) -> None:
    declare(world)
    world.up()

    mode = world.host.exec(["stat", "-c", "%a %U", f"{world.path}/.deploy/run/{world.program('web')}"]).stdout.split()

    assert mode == ["700", "root"]
    seen = world.host.exec(
        ["cat", f"{world.path}/.deploy/run/{world.program('web')}/current/secrets"], user="ann", check=False
    )
    assert seen.returncode != 0


def test_a_rotated_secret_restarts_who_uses_it_and_says_so(world: World) -> None:
    declare(world, "old")
    release = world.up().plan.release
    other = world.pid("other")

    declare(world, "new")
    outcome = world.up()

    assert outcome.plan.release == release, "secrets are no part of a release"
    assert outcome.plan.secrets == ("TOKEN",)
    assert {step.service: step.why for step in outcome.plan.steps if step.do == "restart"} == {
        "web": "secret TOKEN rotated"
    }
    assert world.get()["env"]["TOKEN"] == "new"
    assert world.pid("other") == other


def test_a_rollback_keeps_today_s_secrets(world: World) -> None:
    declare(world, "old", "1")
    world.up()
    declare(world, "new", "2")
    world.up()

    world.rollback()

    assert world.version == "1"
    assert world.get()["env"]["TOKEN"] == "new"


def test_a_rollback_to_a_release_whose_secret_is_gone_is_refused(world: World) -> None:
    declare(world, "old", "1")
    world.up()
    world.web("2")
    world.up()

    with pytest.raises(Refused, match="secret TOKEN is not known"):
        world.rollback()

    assert world.version == "2"
