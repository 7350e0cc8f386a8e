"""A prebuilt engine on real hosts: shipped once, judged before it is sent, and served by."""

from __future__ import annotations

from typing import Any

import pytest

from provision.engines import wheel
from provision.errors import Refused
from provision.native.model import write_demo_model
from tests.deploy.world import World, web
from tests.testbed import Kind
from tests.testbed.fixtures import MakeHost, Place

pytestmark = pytest.mark.root


def llama(world: World, **more: Any) -> dict[str, Any]:
    """A llama-server of the wheel, with a model that is there."""
    write_demo_model(world.folder / "models" / "demo.gguf")
    model = {"preset": "bitnet-server", "engine": "wheel", "model": "models/demo.gguf", "threads": 1}
    return {**model, "port": world.port, "switch": "in-place", **more}


# What is the same under every supervisor is tried under one.
once = pytest.mark.parametrize("platform", ["supervisord"], indirect=True)


def phases(world: World) -> list[str]:
    return [event["phase"] for event in world.events if event["event"] == "phase" and event["state"] == "begin"]


def test_a_prebuilt_engine_is_shipped_once_and_serves(world: World) -> None:
    world.declare({"llama": llama(world)})
    world.up()
    assert world.checks() == ["llama http /health", "llama completion"]
    assert "engine" in phases(world)

    world.declare({"llama": llama(world, args=["--ctx-size", "512"])})
    outcome = world.up()

    assert world.do(outcome) == {"llama": "restart"}
    assert "engine" not in phases(world)
    assert world.get("/props")["default_generation_settings"]["n_ctx"] == 512
    assert world.up().outcome == "unchanged"


def test_an_account_of_its_own_may_run_it(world: World) -> None:
    world.declare({"llama": llama(world, user="ann")})

    world.up()

    owner = world.host.exec(["stat", "-c", "%U", f"/proc/{world.pid('llama')}"]).stdout.strip()
    assert owner == "ann"


@once
def test_what_an_upload_that_was_cut_left_is_no_obstacle(world: World) -> None:
    left = f"{world.path}/shared/engines/.incoming-{wheel().id}"
    names = "llama-server server.py libxllamacpp.so"
    script = f'mkdir -p "$1"; cd "$1"; for name in {names}; do echo half >"$name"; done; chmod 444 *'
    world.host.exec(["sh", "-c", script, "sh", left])
    world.declare({"llama": llama(world)})

    world.up()

    assert world.host.exec(["ls", "-A", f"{world.path}/shared/engines"]).stdout.split() == [wheel().id]


@once
def test_one_that_was_damaged_on_the_host_is_shipped_again(world: World) -> None:
    world.declare({"llama": llama(world)})
    world.up()
    world.host.exec(["truncate", "--size", "1000", f"{world.path}/shared/engines/{wheel().id}/VERSION"])

    world.up()

    assert "engine" in phases(world)
    assert world.host.read(f"{world.path}/shared/engines/{wheel().id}/VERSION").decode().strip() == wheel().version


@once
def test_an_engine_that_no_release_needs_any_more_goes(world: World) -> None:
    world.target["keep"] = 2
    world.declare({"llama": llama(world)})
    world.up()
    for version in "1234":
        world.declare({"web": web(world.port, version)})
        world.up()

    assert world.host.exec(["ls", "-A", f"{world.path}/shared/engines"]).stdout == ""


def test_it_is_not_sent_where_a_library_of_the_system_is_missing(
    make_host: MakeHost, place: Place, tmp_path: Any
) -> None:
    host = make_host(Kind.SUPERVISORD)
    host.exec(["sh", "-c", "rm /usr/lib/*/libgomp.so.1*"])
    world = World(tmp_path / "project", host, "supervisord", place.path, place.port(), place.name)
    world.declare({"llama": llama(world)})

    with pytest.raises(Refused, match=r"the wheel engine needs libgomp\.so\.1") as refusal:
        world.up()

    assert "apt-get install --yes libgomp1" in refusal.value.next_step
    assert not {"engine", "model", "ship"} & set(phases(world))
    with world.cli("plan") as process:
        assert "the wheel engine needs libgomp.so.1" in process.communicate(timeout=60)[0]
    assert process.returncode == 4


@once
def test_a_container_takes_none(world: World) -> None:
    """Said by `check` already, with the way out."""
    world.platform = "docker"
    world.target.pop("name_prefix", None)
    world.project = {"image": "ghcr.io/me/shop@sha256:" + "4f1c" * 16}
    world.declare({"llama": llama(world)})

    with world.cli("check") as process:
        said = process.communicate(timeout=60)[0]

    assert process.returncode == 2
    assert "services.llama.engine: the wheel engine is for hosts; an image brings a compiled one" in said


@once
def test_check_says_which_engine_serves_and_what_it_reads(world: World) -> None:
    world.declare({"llama": llama(world), "web": web(world.port + 1)})

    with world.cli("check") as process:
        said = process.communicate(timeout=60)[0]

    assert (
        f"  llama: engine wheel, xllamacpp {wheel().version}, prebuilt; reads TQ1_0, TQ2_0 of the ternary types" in said
    )
    assert "web:" not in said


@once
def test_an_option_that_it_does_not_have_is_named_before_anything_is_sent(world: World) -> None:
    world.declare({"llama": llama(world, args=["--mlock"])})

    with world.cli("check") as process:
        said = process.communicate(timeout=60)[0]

    assert process.returncode == 2
    assert "services.llama.engine: invalid argument: --mlock: the wheel engine has no such option" in said


@once
def test_a_model_that_it_cannot_read_is_named_before_anything_is_sent(world: World) -> None:
    from tests.bitnet.runtime.gguf_files import with_type_id

    world.declare({"llama": llama(world)})
    with_type_id(world.folder / "models" / "demo.gguf", "blk.0.ffn_up.weight", 36)

    with world.cli("check") as process:
        said = process.communicate(timeout=60)[0]

    assert process.returncode == 2
    assert "services.llama.model: it holds I2_S tensors, which the wheel engine cannot read" in said
    with pytest.raises(Refused, match="holds I2_S tensors"):
        world.up()
