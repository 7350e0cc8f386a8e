"""What is shipped: files, modes, models, prepared parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.errors import PutBack, Refused
from provision.native.model import write_demo_model
from tests.deploy.world import World, web

pytestmark = pytest.mark.root


def test_a_release_is_read_only_and_holds_what_the_ignore_rules_leave(world: World) -> None:
    (world.folder / ".gitignore").write_text("*.log\n")
    (world.folder / "noise.log").write_text("x")
    (world.folder / "sub").mkdir()
    (world.folder / "sub/ümläut \n name").write_text("odd")
    (world.folder / "run.sh").write_text("#!/bin/sh\n")
    (world.folder / "run.sh").chmod(0o755)
    (world.folder / "link").symlink_to("sub")
    world.web("1")

    world.up()

    files = world.host.exec(["find", f"{world.path}/stable/", "-mindepth", "1", "-printf", "%P %m %l\\0"]).stdout
    names = set(files.split("\0"))
    assert "sub/ümläut \n name 444 " in names
    assert "run.sh 555 " in names
    assert "link 777 sub" in names
    assert not any(name.startswith(("noise.log", ".env")) for name in names)


def test_an_unchanged_file_is_linked_from_the_last_release(world: World) -> None:
    (world.folder / "big.bin").write_bytes(b"x" * 100_000)
    world.web("1")
    world.up()
    world.web("2")
    world.up()

    links = world.host.exec(["stat", "-c", "%h", f"{world.path}/stable/big.bin"]).stdout.strip()

    assert links == "2"


def test_a_file_with_old_size_and_time_but_new_content_is_noticed(world: World) -> None:
    import os

    page = world.folder / "page.txt"
    page.write_text("aaaa")
    os.utime(page, (1_700_000_000, 1_700_000_000))
    world.web("1")
    world.up()

    page.write_text("bbbb")
    os.utime(page, (1_700_000_000, 1_700_000_000))
    world.up()

    assert world.host.read(f"{world.path}/stable/page.txt") == b"bbbb"


def test_a_model_is_shipped_once_by_content_and_linked(world: World) -> None:
    model = world.folder / "models" / "demo.gguf"
    model.parent.mkdir()
    write_demo_model(model)
    services = {"web": web(world.port, model="models/demo.gguf", paths=[])}
    world.declare(services)

    world.up()

    link = world.host.exec(["readlink", f"{world.path}/stable/models/demo.gguf"]).stdout.strip()
    assert link.startswith("../../../shared/models/sha256-")
    assert world.host.read(f"{world.path}/stable/models/demo.gguf") == model.read_bytes()
    services["web"]["env"] = {"VERSION": "2"}
    world.declare(services)
    world.up()
    assert not [event for event in world.events if event["event"] == "phase" and event["phase"] == "model"]


def test_a_prepare_step_runs_before_the_release_has_a_name_and_once_for_the_same_inputs(world: World) -> None:
    (world.folder / "lock.txt").write_text("1")
    prepare = {
        "command": ["sh", "-c", 'date +%N >made/when; printf %s "$CACHE" >made/cache'],
        "inputs": ["lock.txt"],
        "outputs": ["made"],
        "env": {"CACHE": "${path}/shared/cache"},
    }
    world.declare({"web": web(world.port, "1")}, prepare=prepare)
    world.up()
    first = world.host.read(f"{world.path}/stable/made/when")

    world.declare({"web": web(world.port, "2")}, prepare=prepare)
    world.up()
    second = world.host.read(f"{world.path}/stable/made/when")
    (world.folder / "lock.txt").write_text("2")
    world.up()

    assert first == second
    assert world.host.read(f"{world.path}/stable/made/when") != first
    assert world.host.read(f"{world.path}/stable/made/cache").decode() == f"{world.path}/shared/cache"


def test_what_a_prepare_step_makes_can_be_read_by_other_accounts_whatever_the_login_says(world: World) -> None:
    prepare = {"command": ["sh", "-c", "mkdir made/in; echo it >made/in/it"], "outputs": ["made"]}
    world.declare({"web": web(world.port, "1")}, prepare=prepare)
    world.host.exec(["sh", "-c", "echo umask 077 >/root/.bashrc"])

    try:
        world.up()
    finally:
        world.host.exec(["rm", "/root/.bashrc"])

    read = ["setpriv", "--reuid=65534", "--clear-groups", "cat", f"{world.path}/stable/made/in/it"]
    assert world.host.exec(read).stdout == "it\n"


def test_a_prepare_step_is_given_secrets_that_the_host_does_not_keep(world: World) -> None:
    prepare = {
        "command": ["sh", "-c", 'echo "asking with $HF_TOKEN"; printf %s "$HF_TOKEN" | wc -c >made/length'],
        "outputs": ["made"],
        "secrets": ["HF_TOKEN"],
    }
    world.declare({"web": web(world.port, "1")}, prepare=prepare, env="HF_TOKEN=hf-not-for-the-log\n")

    world.up()

    assert world.host.read(f"{world.path}/stable/made/length").strip() == b"18"
    assert [event["text"] for event in world.events if event["event"] == "output"] == ["asking with <HF_TOKEN>"]
    assert "hf-not-for-the-log" not in str(world.events)
    kept = ["grep", "-rlF", "hf-not-for-the-log", world.path, "/var/lib/deploy", "/var/log", "/tmp"]
    assert world.host.exec(kept, check=False).stdout == ""


def test_a_prepare_step_that_fails_changes_nothing(world: World) -> None:
    world.web("1")
    release = world.up().plan.release
    world.declare({"web": web(world.port, "2")}, prepare={"command": ["sh", "-c", "echo no such package; exit 7"]})

    with pytest.raises(Exception, match="prepare step ended with status 7") as failure:
        world.up()

    assert "no such package" in str(failure.value)
    assert world.stable == release
    assert world.version == "1"


def test_project_wide_checks_must_pass_before_anything_is_stable(world: World) -> None:
    world.web("1")
    world.up()
    check = {"command": ["sh", "-c", "echo batch failed; exit 1"], "timeout": "1s"}
    world.declare({"web": web(world.port, "2")}, **{"checks.batch": check})

    with pytest.raises(PutBack, match="batch failed"):
        world.up()

    assert world.version == "1"


def test_a_binary_for_another_machine_is_refused_before_anything_is_touched(world: World) -> None:
    world.web("1")
    world.up()
    binary = Path("/bin/true").read_bytes()
    foreign = bytearray(binary)
    foreign[18:20] = (183).to_bytes(2, "little")  # EM_AARCH64
    (world.folder / "server-bin").write_bytes(foreign)
    (world.folder / "server-bin").chmod(0o755)
    model = world.folder / "demo.gguf"
    write_demo_model(model)
    world.declare({"web": web(world.port, "2", binary="server-bin", model="demo.gguf")})

    with pytest.raises(Refused, match="built for aarch64"):
        world.up()

    assert world.version == "1"
