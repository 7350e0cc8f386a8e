"""Hole 9: what arrived whole stays through failures; what can refuse is asked before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provision import rollout
from provision.errors import DeployError, NoRoom, PutBack, Refused
from provision.native.model import write_demo_model
from tests.bitnet.runtime.gguf_files import with_type_id
from tests.deploy.world import World, web
from tests.testbed import Kind, TestHost
from tests.testbed.fixtures import MakeHost, Place

pytestmark = pytest.mark.root

once = pytest.mark.parametrize("platform", ["supervisord"], indirect=True)
MIB = 1 << 20


def phases(world: World) -> list[str]:
    return [event["phase"] for event in world.events if event["event"] == "phase" and event["state"] == "begin"]


def told(world: World, *arguments: str) -> tuple[int, str]:
    """The exit status of `deploy …`, and what it said."""
    with world.cli(*arguments) as process:
        said = process.communicate(timeout=60)[0]
    return process.returncode, said


def model(world: World) -> Path:
    path = world.folder / "models" / "demo.gguf"
    write_demo_model(path)
    return path


def shared(world: World, what: str) -> list[str]:
    return world.host.exec(["ls", "-A", f"{world.path}/shared/{what}"]).stdout.split()


def assert_refused_unsent(world: World, what: str) -> Refused:
    """`plan` and `up` say it, and nothing was sent."""
    planned = rollout.plan(world.deployment())[0].plan
    assert planned.refused is not None
    assert what in planned.refused.what
    with pytest.raises(Refused) as refusal:
        world.up()
    assert what in refusal.value.what
    assert not {"ship", "model", "engine", "transaction"} & set(phases(world))
    return refusal.value


@once
def test_a_failed_deploy_keeps_what_it_has_shipped_and_prepared(world: World) -> None:
    """Hole 9: the retry shipped the model again, and prepared anew."""
    world.web("1")
    world.up()
    path = model(world)
    (world.folder / "lock.txt").write_text("1")
    prepare = {"command": ["sh", "-c", "date +%N >made/when"], "inputs": ["lock.txt"], "outputs": ["made"]}
    bad = web(world.port, "2", model="models/demo.gguf", env={"FAIL": "exit", "VERSION": "2"})
    world.declare({"web": bad}, prepare=prepare)
    with pytest.raises(PutBack):
        world.up()
    kept = shared(world, "models"), shared(world, "prepared")

    status, said = told(world, "plan")
    assert status == 0
    assert f"model models/{path.name} (3.9 MB) is on the host already" in said
    world.declare({"web": {**bad, "env": {"VERSION": "2"}}}, prepare=prepare)
    world.up()

    assert "model" not in phases(world)
    assert "as before" in [event["detail"] for event in world.events if event["event"] == "step"]
    assert (shared(world, "models"), shared(world, "prepared")) == kept
    assert world.version == "2"


@once
@pytest.mark.slow
def test_what_never_served_goes_by_age_and_what_served_with_its_last_release(world: World) -> None:
    """Hole 9: kept does not mean kept for ever."""
    world.target["keep"] = 2
    model(world)
    bad = web(world.port, "1", model="models/demo.gguf", env={"FAIL": "exit"})
    world.declare({"web": bad})
    with pytest.raises(PutBack):
        world.up()
    never = shared(world, "models")[0]
    week = ["find", world.path, "-maxdepth", "3", "-type", "d", "-exec", "touch", "-d", "8 days ago", "{}", "+"]
    world.host.exec(week)
    world.web("1")
    world.up()
    assert never not in shared(world, "models")
    assert len(world.host.exec(["ls", f"{world.path}/releases"]).stdout.split()) == 1

    world.declare({"web": {**bad, "env": {"VERSION": "1"}}})
    world.up()
    assert shared(world, "models") == [never]
    for version in "234":
        world.web(version)
        world.up()
    assert shared(world, "models") == []


@once
def test_a_plan_tells_how_much_of_an_upload_is_there(world: World) -> None:
    """Hole 9: an upload that was cut goes on where it was, also one of an older version."""
    path = model(world)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # one that no other project of the host has
    world.declare({"web": web(world.port, "1", model="models/demo.gguf")})
    sha256 = world.deployment().release.models[0].sha256
    part = f"{world.path}/shared/models/.incoming-{sha256}/.rsync-partial/{path.name}"
    world.host.exec(["mkdir", "-p", str(Path(part).parent)])
    world.host.write(part, path.read_bytes()[:2_000_000])

    status, said = told(world, "plan")
    assert status == 0
    assert f"ship model models/{path.name} (3.9 MB), of which 2.0 MB are there already" in said
    world.up()

    assert shared(world, f"models/sha256-{sha256}") == [path.name]
    assert world.host.read(f"{world.path}/stable/models/demo.gguf") == path.read_bytes()


@once
def test_a_taken_port_is_said_before_anything_is_sent(world: World) -> None:
    """Hole 9: a model of gigabytes was shipped first."""
    model(world)
    world.web("1")
    world.up()
    busy = world.port + 3
    world.host.exec(["sh", "-c", f"python3 -m http.server --bind 127.0.0.1 {busy} >/dev/null 2>&1 &"])
    listens = f"for i in $(seq 100); do curl -s 127.0.0.1:{busy} >/dev/null && exit; sleep 0.05; done; exit 1"
    world.host.exec(["sh", "-c", listens])
    world.declare({"web": web(world.port, "2", model="models/demo.gguf"), "more": web(busy)})

    refusal = assert_refused_unsent(world, f"port {busy} of {world.program('more')} is taken by ")
    status, said = told(world, "plan")

    assert status == 4
    assert f"up would be refused: {refusal.what}" in said
    assert "start" in said.split("up would be")[0]  # the steps are shown all the same
    assert world.version == "1"


@once
@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"binary": "/opt/none/llama-server"}, "/opt/none/llama-server is not an executable file on this host"),
        ({"binary": "llama-server"}, "holds I2_S tensors, which llama-server can't read"),
        ({"user": "nobody-here"}, "user 'nobody-here' does not exist"),
        ({"resources": {"memory": "900TB"}}, "of memory are needed"),
    ],
    ids=["binary", "tensors", "user", "memory"],
)
def test_what_no_release_could_mend_is_said_before_anything_is_sent(
    world: World, more: dict[str, Any], what: str
) -> None:
    """Hole 9: missing binary, model type, user, memory."""
    path = model(world)
    with_type_id(path, "blk.0.ffn_up.weight", 36)
    (world.folder / "llama-server").write_bytes(Path("/bin/true").read_bytes())
    (world.folder / "llama-server").chmod(0o755)
    world.declare({"web": web(world.port, "1", model="models/demo.gguf", **more)})

    assert_refused_unsent(world, what)


@once
def test_a_program_of_ones_own_is_run_as_declared_and_in_no_other_way(world: World) -> None:
    """Its `--version` was asked for as llama-server's is, and a program that knew no such option was refused; so was
    one that reads BitNet's types and writes their names otherwise than llama.cpp does."""
    with_type_id(model(world), "blk.0.ffn_up.weight", 36)  # I2_S
    (world.folder / "serve").write_text(
        '#!/bin/sh\nif [ "$1" = --version ]; then touch "$0.asked"; exit 64; fi\nexec python3 server.py "$1"\n'
    )
    (world.folder / "serve").chmod(0o755)
    world.declare(
        {"web": web(world.port, "1", command=["${binary}", "${port}"], binary="serve", model="models/demo.gguf")}
    )
    world.up()
    assert world.version == "1"
    assert world.host.exec(["find", world.path, "-name", "*.asked"]).stdout == ""

    (world.folder / "serve").rename(world.folder / "llama-server")
    world.declare({"web": web(world.port, "2", command=["${binary}", "${port}"], binary="llama-server")})
    with pytest.raises(DeployError, match=r"llama-server does not run here \(exit status 64"):
        world.up()
    assert world.version == "1"


@once
@pytest.mark.slow
def test_a_name_that_is_taken_is_said_before_anything_is_sent(world: World, tmp_path: Path) -> None:
    """Hole 9, with two projects of one prefix."""
    world.web("1")
    world.up()
    other = World(
        tmp_path / "other",
        world.host,
        world.platform,
        world.path + "o",
        world.port + 5,
        world.name + "o",
        target=dict(world.target),
    )
    other.web("1")

    assert_refused_unsent(other, f"the name '{world.program('web')}' is taken")


@pytest.mark.slow
def test_a_disk_without_room_is_told_before_it_is_filled(make_host: MakeHost, place: Place, tmp_path: Path) -> None:
    """Hole 9: a full disk beside running services, and rsync's own words."""
    host = make_host(Kind.SUPERVISORD, workspace_size=96 * MIB)
    world = World(tmp_path / "p", host, "supervisord", place.path, place.port(), place.name)
    big = world.folder / "big.bin"
    world.web("1")
    world.up()

    with big.open("wb") as file:
        file.truncate(100 * MIB)
    refusal = assert_refused_unsent(world, f"MiB are free under {world.path}/releases")
    assert "files 100" in refusal.what

    # What is there already needs no room a second time.
    big.write_bytes(b"")
    with big.open("wb") as file:
        file.truncate(45 * MIB)
    world.up()
    world.web("2")
    world.up()
    assert world.version == "2"

    # What nothing needs makes room.
    never = f"{world.path}/shared/models/sha256-{'0' * 64}"
    world.host.exec(["mkdir", never])
    world.host.exec(["fallocate", "-l", str(_free(host) - 20 * MIB), f"{never}/x.gguf"])
    (world.folder / "more.bin").write_bytes(bytes(8 * MIB))
    assert rollout.plan(world.deployment())[0].plan.refused is None
    world.up()
    assert shared(world, "models") == []

    # It fills up while files are sent.
    (world.folder / "last.bin").write_bytes(bytes(4 * MIB))
    deployment = world.deployment()

    def fill(event: dict[str, Any]) -> None:
        world.events.append(event)
        if event["event"] == "phase" and (event["phase"], event["state"]) == ("ship", "begin"):
            host.fill_disk("/workspace", 1 * MIB)

    deployment.on_event = fill
    with pytest.raises(NoRoom) as full:
        rollout.up(deployment)
    assert "the host's disk filled up while files were sent" in full.value.what
    assert host.exec(["sh", "-c", f"ls -d {world.path}/releases/.incoming-* 2>/dev/null || :"]).stdout == ""
    assert world.version == "2"
    host.free_disk()
    world.up()


@once
def test_shared_on_a_disk_of_its_own_is_counted_by_itself(world: World) -> None:
    """Hole 9: `releases` has room, and `shared` has none."""
    models = f"{world.path}/shared/models"
    world.host.exec(["mkdir", "-p", models])
    world.host.exec(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", models])
    model(world)
    world.declare({"web": web(world.port, "1", model="models/demo.gguf")})

    try:
        assert_refused_unsent(world, f"2 MiB are free under {models}; 4 MiB are needed (model models/demo.gguf 4)")
    finally:
        world.host.exec(["umount", models])


def _free(host: TestHost) -> int:
    return int(host.exec(["stat", "-f", "-c", "%a", "/workspace"]).stdout) * int(
        host.exec(["stat", "-f", "-c", "%S", "/workspace"]).stdout
    )


@once
def test_a_release_that_a_shell_stands_in_is_told_and_few_such_are_kept(world: World) -> None:
    """One was kept for as long as somebody's shell stood in its folder, without a word and without a bound."""
    world.target["keep"] = 2
    stand = 'cd "$1/stable/"; cd -P .; sleep 999 >/dev/null 2>&1 & echo $!'
    pids, releases = [], []
    for version in "123456":
        world.web(version, switch="in-place")
        world.up()
        releases.append(world.stable)
        pids.append(world.host.exec(["sh", "-c", stand, "sh", world.path]).stdout.strip())
    told_ = [event["text"] for event in world.events if event["event"] == "warning"]
    try:
        # The last one serves, and the one before is the way back.
        kept = set(world.host.exec(["ls", f"{world.path}/releases"]).stdout.split())
        assert kept == {*releases[-2:], *releases[-5:-2]}
        sentence = f"release {releases[2][:12]} is kept while pid {pids[2]} (sleep 999) works in its folder"
        assert any(sentence in text for text in told_)
        assert sentence in told(world, "status")[1]
        world.web("7")
        assert sentence in told(world, "plan")[1]
    finally:
        world.host.exec(["kill", *pids])
    world.up()
    assert len(world.host.exec(["ls", f"{world.path}/releases"]).stdout.split()) == 2


def test_of_what_transactions_told_the_newest_is_kept_whatever_it_is_called(world: World) -> None:
    told = f"{world.path}/.deploy/transactions"
    world.web("1")
    world.up()
    earlier = "for number in $(seq 30); do touch -d '1 hour ago' \"$1/recover-$number.jsonl\"; done"
    world.host.exec(["sh", "-c", earlier, "sh", told])

    world.web("2")
    world.up()

    transactions = [entry["transaction"] for entry in world.status().project["history"]]
    kept = world.host.exec(["ls", told]).stdout.split()
    assert {f"{transaction}.jsonl" for transaction in transactions} <= set(kept)
    assert len(kept) == 20
