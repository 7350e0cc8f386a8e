"""Folders that outlive releases, and programs that write where the next release does not look."""

from __future__ import annotations

import pytest

from provision import rollout
from provision.errors import DeployError, PutBack
from tests.deploy.world import World, web

pytestmark = pytest.mark.root


@pytest.fixture(params=["supervisord", pytest.param("systemd", marks=pytest.mark.slow)])
def platform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


DATA = "web/public/downloads"
# Writes a file, says how that went, and becomes the server.
WRITES = """import os, sys
open(sys.argv[1], "a").write("x")
os.execvp("python3", ["python3", "server.py", sys.argv[2]])
"""


def writes(world: World, path: str, version: str = "1", **more: object) -> None:
    (world.folder / "writes.py").write_text(WRITES)
    command = ["python3", "writes.py", path, "${port}"]
    world.declare({"web": web(world.port, version, command=command, switch="in-place", **more)})


def holds(world: World, path: str) -> str:
    return world.host.exec(["cat", f"{world.path}/{path}"]).stdout


def test_what_is_written_to_data_outlives_failed_deploys_and_rollbacks_and_begins_with_the_first_release(
    world: World,
) -> None:
    seed = world.folder / DATA / "welcome.txt"
    seed.parent.mkdir(parents=True)
    seed.write_text("first")
    world.host.exec(["useradd", "--system", "writer"], check=False)
    writes(world, f"{DATA}/log", user="writer", data=[DATA])
    world.up()
    assert holds(world, f"stable/{DATA}/welcome.txt") == "first"
    world.host.exec(["sh", "-c", f"echo changed >{world.path}/stable/{DATA}/welcome.txt"])
    first = world.stable

    seed.write_text("second")
    writes(world, f"{DATA}/log", "2", user="writer", data=[DATA])
    world.up()
    world.declare({"web": web(world.port, "3", command=["false"], data=[DATA])})
    with pytest.raises(PutBack):
        world.up()
    world.rollback()

    assert world.stable == first
    assert holds(world, f"stable/{DATA}/welcome.txt") == "changed\n"
    assert holds(world, f"shared/data/{DATA}/log").startswith("xx")
    assert holds(world, f"releases/{first}/.deploy/seed/{DATA}/welcome.txt") == "first"
    # Nothing of it is another release, or has changed since it was shipped.
    seed.write_text("first")
    writes(world, f"{DATA}/log", user="writer", data=[DATA])
    planned = rollout.plan(world.deployment())[0].plan
    assert planned.unchanged
    assert not any((planned.files.added, planned.files.changed, planned.files.removed))
    assert not rollout.mend(world.deployment())[0]["aside"]


def test_a_service_that_writes_into_its_release_fails_with_the_path_and_the_key_to_add(world: World) -> None:
    (world.folder / DATA).mkdir(parents=True)
    (world.folder / DATA / "keep").write_text("")
    world.web("1")
    world.up()
    world.host.exec(["useradd", "--system", "writer"], check=False)
    writes(world, f"{DATA}/log", "2", user="writer")

    with pytest.raises(PutBack) as failed:
        world.up()

    assert f"it writes {DATA}/log there" in failed.value.what
    assert failed.value.next_step == f'add to [services.web] in deploy.toml: data = ["{DATA}"]'
    assert world.version == "1"


def test_what_root_writes_into_a_release_is_told_before_it_is_lost(world: World) -> None:
    if world.platform == "systemd":
        pytest.skip("its units mount a release read-only, for root too")
    writes(world, "written.txt")
    world.up()
    writes(world, "var/more.txt", "2", paths=[])
    (world.folder / "var").mkdir()
    (world.folder / "var/keep").write_text("")
    world.up()

    (told,) = [event["text"] for event in world.events if event["event"] == "warning"]
    assert "wrote written.txt into release" in told
    assert 'data = ["var"]' in told


def test_data_of_another_account_is_given_by_hand_and_till_then_nothing_is_disturbed(world: World) -> None:
    for account in ("writer", "other"):
        world.host.exec(["useradd", "--system", account], check=False)
    writes(world, f"{DATA}/log", user="writer", data=[DATA])
    world.up()
    pid = world.pid("web")
    writes(world, f"{DATA}/log", "2", user="other", data=[DATA])

    with pytest.raises(DeployError, match=f"other can't write to {world.path}/shared/data/{DATA}") as refused:
        world.up()

    assert world.pid("web") == pid
    command = refused.value.next_step.removeprefix("on the host: ").removesuffix("; then: deploy up")
    world.host.exec(command.split())
    world.up()
    assert holds(world, f"shared/data/{DATA}/log") == "xx"


def test_data_is_not_put_where_another_account_leads_it_elsewhere(world: World) -> None:
    world.host.exec(["useradd", "--system", "writer"], check=False)
    world.host.exec(["mkdir", "-p", f"{world.path}/shared/data", f"/opt/{world.name}"])
    world.host.exec(["ln", "-s", f"/opt/{world.name}", f"{world.path}/shared/data/web"])
    world.host.exec(["chown", "-h", "writer", f"{world.path}/shared/data", f"{world.path}/shared/data/web"])
    world.web("1", user="writer", data=[DATA])

    with pytest.raises(DeployError, match="belongs to writer"):
        world.up()

    assert not world.host.exec(["ls", f"/opt/{world.name}"]).stdout
