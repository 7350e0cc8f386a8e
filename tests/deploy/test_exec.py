"""A command on a host, with what a service is started with: as its account, and with nothing told that is a secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from provision import rollout
from provision.errors import Refused, UsageError
from tests.deploy.world import World, web
from tests.testbed import TestHost
from tests.testbed.fixtures import Place

pytestmark = pytest.mark.root

_LOOK = 'printf "%s|%s|%s|%s\\n" "$VERSION" "$TOKEN" "$(id -un)" "$PWD"; exit 7'


def ran(world: World, *words: str, **more: object) -> tuple[int, str]:
    reading, writing = os.pipe()
    try:
        status = rollout.execute(world.deployment(), words, output=writing, **more)  # type: ignore[arg-type]
    finally:
        os.close(writing)
        with os.fdopen(reading) as said:
            text = said.read()
    return status, text


def test_a_command_has_what_its_service_has_and_is_its_account(world: World) -> None:
    world.declare(
        {
            "web": web(world.port, "a 'b' $$c", secrets=["TOKEN"], user="ann"),
            "worker": {"command": ["sleep", "1000"], "secret_files": ["KEY"]},
        },
        env="TOKEN='x \"y\" $z'\nKEY=k3y\n",
    )
    with pytest.raises(Refused, match="nothing is deployed as stable on this host"):
        ran(world, "true", service="web")
    world.up()
    release = f"{world.path}/releases/{world.stable}"

    assert ran(world, "sh", "-c", _LOOK, service="web") == (7, f"a 'b' $c|x \"y\" $z|ann|{release}\n")
    assert ran(world, "sh", "-c", 'cat "$KEY_FILE"', service="worker") == (0, "k3y")
    assert ran(world, "sh", "-c", _LOOK, plain=True) == (7, f"|||{release}\n".replace("|||", "||root|"))
    status, said = ran(world, "no-such-program", service="web")
    assert (status, "no-such-program: not found" in said) == (127, True)

    with pytest.raises(UsageError, match=r"with the environment of one service(.|\n)*web, worker(.|\n)*--service web"):
        ran(world, "true")
    with pytest.raises(UsageError, match='there is no service "wbe"'):
        ran(world, "true", service="wbe")
    with pytest.raises(Refused, match="nothing is deployed as canary"):
        ran(world, "true", service="web", channel="canary")

    # One of an earlier version lends nothing, and starts nothing.
    launcher = f"{world.path}/.deploy/run/{world.program('web')}/current/launch"
    world.host.exec(["sh", "-c", "chmod u+w $1; sed -i '/^if .*= exec \\]; then$/,/^fi$/d' $1", "sh", launcher])
    assert ran(world, "sh", "-c", 'echo "<$VERSION>"', service="web") == (0, "<>\n")
    (warning,) = [event["text"] for event in world.events if event["event"] == "warning"]
    assert "was deployed by an earlier version of deploy" in warning


@pytest.mark.slow
def test_a_canary_and_a_copy_have_their_own(world: World) -> None:
    world.declare({"web": web(world.port, "1", replicas=2)})
    world.up()
    world.declare({"web": web(world.port, "2", replicas=2)})
    world.up("canary")

    assert ran(world, "sh", "-c", 'echo "$VERSION"', channel="canary") == (0, "2\n")
    assert ran(world, "sh", "-c", 'echo "$VERSION"', service="web.2") == (0, "1\n")
    with pytest.raises(Refused, match=r"web\.3(\.service)? is not deployed on this host"):
        ran(world, "true", service="web.3")


@pytest.mark.slow
def test_the_services_of_a_user_are_that_users_own(systemd_host: TestHost, place: Place, tmp_path: Path) -> None:
    world = World(tmp_path / "project", systemd_host, "systemd", f"/home/ann/{place.name}", place.port(), place.name)
    world.user = "ann"
    world.target = {"user_units": True}
    world.web("1")
    world.up()

    assert ran(world, "sh", "-c", 'echo "$VERSION $(id -un)"') == (0, "1 ann\n")
