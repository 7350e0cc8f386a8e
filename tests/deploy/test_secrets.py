"""Secrets reach their service and nothing else."""

from __future__ import annotations

import json

import pytest

from provision.errors import DeclarationError, Refused
from tests.deploy.world import World, web

pytestmark = pytest.mark.root

SECRET = "hunter2 'quoted' \"twice\" $HOME `id` %h; #ü"


def declare(world: World, secret: str = SECRET, version: str = "1") -> None:
    quoted = secret.replace("\\", "\\\\").replace("'", "\\'")
    both = web(world.port, version, secrets=["TOKEN"], secret_files=["KEY"])
    world.declare({"web": both, "other": web(world.port + 1, paths=[])}, env=f"TOKEN='{quoted}'\nKEY='{quoted}\n\n'\n")


def test_secrets_reach_their_service_byte_for_byte_in_its_environment_or_as_files(world: World) -> None:
    declare(world)

    world.up()

    assert world.get()["env"]["TOKEN"] == SECRET
    assert world.get()["files"] == {"KEY_FILE": SECRET + "\n\n"}
    assert "KEY" not in world.get()["env"]
    other = world.get(port=world.port + 1)
    assert "TOKEN" not in other["env"]
    assert other["files"] == {}


def test_a_key_that_would_let_everybody_in_is_refused_before_anything_is_sent(world: World) -> None:
    guarded = web(world.port, secret_files=["KEY"], metrics={"token": "KEY"})
    world.declare({"web": guarded}, env="KEY='#hunter2'\n")

    with pytest.raises(
        DeclarationError, match=r"services\.web\.secret_files\[0\]: the value of KEY: .*bearer"
    ) as refusal:
        world.up()

    assert "hunter2" not in str(refusal.value)
    assert world.status().state == "nothing"


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
    environments = ["sh", "-c", 'grep -lF -- "KEY=$1" /proc/[0-9]*/environ', "sh", marker]
    assert not world.host.exec(environments, check=False).stdout


def test_the_launcher_may_be_entered_by_its_own_user_alone(world: World) -> None:
    declare(world)
    world.up()

    folder = f"{world.path}/.deploy/run/{world.program('web')}/current/"
    assert world.host.exec(["stat", "-c", "%a %U", folder]).stdout.split() == ["700", "root"]
    seen = world.host.exec(
        ["cat", f"{world.path}/.deploy/run/{world.program('web')}/current/secrets"], user="ann", check=False
    )
    assert seen.returncode != 0


def test_the_file_of_a_secret_is_its_users_own_and_goes_with_its_launch(world: World) -> None:
    def declare_as(user: str, secret: str) -> None:
        world.declare(
            {"web": web(world.port, user=user, secret_files=["TOKEN"], switch="in-place")}, env=f"TOKEN={secret}\n"
        )

    def files_there() -> list[str]:
        found = world.host.exec(["find", f"{world.path}/.deploy/run", "-name", "TOKEN", "-printf", "%m %u\n"])
        return found.stdout.splitlines()

    declare_as("www-data", "old")
    world.up()
    assert world.get()["files"] == {"TOKEN_FILE": "old"}
    assert world.get()["uid"] == 33
    assert files_there() == ["400 www-data"]

    declare_as("www-data", "new")
    world.up()

    assert world.get()["files"] == {"TOKEN_FILE": "new"}
    assert files_there() == ["400 www-data"]


@pytest.mark.parametrize("platform", ["supervisord"])  # systemd keeps a unit's credentials by itself
def test_one_that_finishes_on_its_old_code_can_read_its_old_secret_until_it_ends(world: World) -> None:
    def declare_worker(secret: str) -> None:
        worker = web(world.port, on_demand=True, secret_files=["TOKEN"])
        world.declare({"worker": worker}, env=f"TOKEN={secret}\n")

    declare_worker("old")
    world.up()
    world.host.exec(["supervisorctl", "start", world.program("worker")])
    world.host.exec(["sh", "-c", f"until curl -fs http://127.0.0.1:{world.port}/; do sleep 0.05; done"])

    declare_worker("new")
    world.up()

    assert world.get()["files"] == {"TOKEN_FILE": "old"}
    world.host.exec(["supervisorctl", "stop", world.program("worker")])
    world.web("2")
    world.up()
    assert not world.exists(f".deploy/run/{world.program('worker')}")


def test_a_rotated_secret_restarts_who_uses_it_and_says_so(world: World) -> None:
    declare(world, "old")
    release = world.up().plan.release
    other = world.pid("other")

    declare(world, "new")
    outcome = world.up()

    assert outcome.plan.release == release, "secrets are no part of a release"
    assert outcome.plan.secrets == ("KEY", "TOKEN")
    assert {step.service: step.why for step in outcome.plan.steps if step.do == "restart"} == {
        "web": "secret KEY, TOKEN rotated"
    }
    assert world.get()["env"]["TOKEN"] == "new"
    assert world.get()["files"] == {"KEY_FILE": "new\n\n"}
    assert world.pid("other") == other


def test_a_rollback_keeps_today_s_secrets(world: World) -> None:
    declare(world, "old", "1")
    world.up()
    declare(world, "new", "2")
    world.up()

    world.rollback()

    assert world.version == "1"
    assert world.get()["env"]["TOKEN"] == "new"
    assert world.get()["files"] == {"KEY_FILE": "new\n\n"}


def test_a_rollback_to_a_release_whose_secret_is_gone_is_refused(world: World) -> None:
    declare(world, "old", "1")
    world.up()
    world.web("2")
    world.up()

    with pytest.raises(Refused, match="secret KEY, TOKEN is not known"):
        world.rollback()

    assert world.version == "2"
