"""Hole 4: what is made of secrets by `${NAME}` reaches its program whole, and is one wherever it goes."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.deploy.world import World, web

pytestmark = pytest.mark.root

ODD = "hunter2 'quoted' \"twice\" $HOME ${PW} `id` \\ %h; #ü"


def declare(world: World, marker: str, *odd: str) -> str:
    """`web` and the prepare step are made of secrets that another service declares, under several names."""
    password = " ".join([marker, *odd])
    digest = hashlib.sha256(f"https://{password}@index".encode()).hexdigest()
    env = {"URL": "postgres://u:${PW}@127.0.0.1:${port}/$HOME", "COPY": "${SAME}", "KEY": "${KEY}"}
    other = web(world.port + 1, paths=[], secrets=["PW", "KEY"], on_demand=True)
    quoted = password.replace("\\", "\\\\").replace("'", "\\'")
    world.declare(
        {"web": web(world.port, env=env), "other": other},
        env=f"PW='{quoted}'\nSAME='{quoted}'\nKEY=key-of-{marker}\n",
        prepare={
            "command": ["sh", "-c", f'printf %s "$INDEX" | sha256sum | grep -q {digest[:20]} || exit 9; env'],
            "env": {"INDEX": "https://${PW}@index"},
        },
    )
    return password


def test_a_variable_made_of_secrets_arrives_whole_and_is_read_nowhere_else(world: World) -> None:
    marker = "s3cr3t-" + world.name
    password = declare(world, marker, ODD)

    release = world.up().plan.release

    told = world.get()["env"]
    assert told["URL"] == f"postgres://u:{password}@127.0.0.1:{world.port}/$HOME"
    assert (told["COPY"], told["KEY"]) == (password, f"key-of-{marker}")
    places = [world.path, "/etc/supervisor", "/etc/systemd", "/var/lib/deploy", "/var/log", "/root", "/tmp"]
    found = world.host.exec(["grep", "-rlFs", "--", marker, *places], check=False).stdout.split()
    assert {path.rpartition("/")[2] for path in found} == {"secrets"}
    modes = world.host.exec(["stat", "-c", "%a", *found]).stdout.split()
    assert set(modes) == {"400"}
    assert not [process for process in world.host.processes() if any(marker in word for word in process.argv)]
    assert marker not in json.dumps(world.events) + json.dumps(world.status().project)

    env_file = world.folder / ".env"
    env_file.write_text(env_file.read_text().replace(marker, marker + "-2"))
    rotated = world.up()

    assert rotated.plan.release == release, "secrets are no part of a release"
    assert rotated.plan.secrets == ("KEY", "PW", "SAME")
    assert {step.service: step.why for step in rotated.plan.steps} == {
        "web": "secret KEY, PW, SAME rotated",
        "other": "secret KEY, PW rotated",
    }
    assert world.get()["env"]["URL"] == told["URL"].replace(marker, marker + "-2")
