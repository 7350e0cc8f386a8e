"""Hole 4: what is made of secrets by `${NAME}` reaches its program whole, and is one wherever it goes."""

from __future__ import annotations

import hashlib
import json
import stat

import pytest

from provision.errors import DeclarationError
from tests.deploy.world import World, web

pytestmark = pytest.mark.root

ODD = "hunter2 'quoted' \"twice\" $HOME ${PW} `id` \\ %h; #ü"


def declare(world: World, password: str, *, user: str = "u", version: str = "1") -> None:
    """`web` is made of secrets that other services and the prepare step declare, under several names."""
    index = f"https://{password}@index"
    digest = hashlib.sha256(index.encode()).hexdigest()
    env = {
        "VERSION": version,
        "URL": f"postgres://{user}:${{PW}}@127.0.0.1:${{port}}/$HOME",
        "COPY": "${SAME}",
        "KEY": "${KEY}",
    }
    quoted = password.replace("\\", "\\\\").replace("'", "\\'")
    world.declare(
        {"web": web(world.port, env=env), "other": web(world.port + 1, paths=[], secrets=["PW", "KEY"])},
        env=f"PW='{quoted}'\nSAME='{quoted}'\nKEY=key-{world.name}\n",
        prepare={
            "command": ["sh", "-c", f'printf %s "$INDEX" | sha256sum | grep -q {digest[:20]} || exit 9; env'],
            "env": {"INDEX": "https://${PW}@index"},
        },
    )


def test_a_variable_made_of_secrets_arrives_whole_and_a_new_secret_restarts_who_has_it(world: World) -> None:
    declare(world, ODD)
    release = world.up().plan.release

    told = world.get()["env"]
    assert told["URL"] == f"postgres://u:{ODD}@127.0.0.1:{world.port}/$HOME"
    assert (told["COPY"], told["KEY"]) == (ODD, f"key-{world.name}")

    text = (world.folder / ".env").read_text()
    (world.folder / ".env").write_text(text.replace("hunter2", "hunter3"))
    rotated = world.up()

    assert rotated.plan.release == release, "secrets are no part of a release"
    assert rotated.plan.secrets == ("PW", "SAME")
    assert {step.service: step.why for step in rotated.plan.steps if step.do == "restart"} == {
        "web": "secret PW, SAME rotated",
        "other": "secret PW rotated",
    }
    assert world.get()["env"]["URL"] == told["URL"].replace("hunter2", "hunter3")


def test_its_bytes_are_in_no_file_but_that_of_secrets_in_no_argument_and_in_no_output(world: World) -> None:
    marker = "s3cr3t-" + world.name
    declare(world, marker)

    with world.cli("up") as up:
        told = up.communicate()[0]
    with world.cli("plan", "--json") as plan:
        told += plan.communicate()[0]
    with world.cli("render", world.platform) as rendered:
        told += rendered.communicate()[0]
    world.up()

    assert "release" in told
    assert marker not in told + json.dumps(world.events) + json.dumps(world.status().project)
    places = ["/workspace", "/etc", "/var/lib", "/var/log", "/root", "/tmp", "/home", "/run"]
    found = world.host.exec(["grep", "-rlFsI", "--", marker, *places], check=False).stdout.split()
    assert found
    assert {path.rpartition("/")[2] for path in found} == {"secrets"}
    for path in found:
        mode = int(world.host.exec(["stat", "-c", "%a", path]).stdout, 8)
        assert mode & (stat.S_IRWXG | stat.S_IRWXO) == 0
    assert not [process for process in world.host.processes() if any(marker in word for word in process.argv)]


def test_where_it_would_be_read_by_others_nothing_is_sent(world: World) -> None:
    leaks = web(world.port, args=["${PW}"], check={"http": "/health?k=${PW}"})
    world.declare({"web": leaks, "other": web(world.port + 1, secrets=["PW"])}, env="PW=hunter2-hunter2\n")

    with pytest.raises(DeclarationError) as refused:
        world.up()

    keys = [problem.key for problem in refused.value.problems]
    assert sorted(keys) == ["services.web.args[0]", "services.web.check.http"]
    assert "hunter2" not in str(refused.value)
    assert world.status().state == "nothing"
