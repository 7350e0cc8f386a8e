"""Hole 2: one folder of a host is one project's, and programs are one supervisor's."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision import rollout
from provision.agent import boot
from provision.agent.folders import STATE_DIR_VARIABLE
from provision.cli.render.status import status_lines
from provision.contract.layout import Layout, control_socket
from provision.errors import PutBack, Refused
from tests.deploy.world import World, web
from tests.testbed import TestHost
from tests.testbed.fixtures import Place

pytestmark = pytest.mark.root

once = pytest.mark.parametrize("platform", ["supervisord"], indirect=True)


@pytest.fixture
def blog(world: World, tmp_path: Path) -> World:
    """Another project whose target was copied from the first: path, prefix and service names are the same."""
    port, name = world.port + 5, world.name + "b"
    return World(tmp_path / "blog", world.host, world.platform, world.path, port, name, target=dict(world.target))


@once
def test_another_project_s_folder_is_refused_with_who_is_there_and_the_way_to_take_over(
    world: World, blog: World
) -> None:
    """Hole 2: the second project ended the first one's services as "no longer declared"."""
    world.web("1")
    release = world.up().plan.release
    pid = world.pid("web")
    blog.web("b")
    state = world.state()

    for verb in (rollout.plan, rollout.up, rollout.down, rollout.promote, rollout.rollback, rollout.unlock):
        with pytest.raises(Refused) as refusal:
            verb(blog.deployment())  # type: ignore[operator]
        assert refusal.value.what == f"{world.path} is the folder of project '{world.name}', and this is '{blog.name}'."
        assert f"deploy up --take-over {world.name}" in refusal.value.next_step

    assert (world.pid("web"), world.stable, world.state()) == (pid, release, state)
    assert f"  this is what project {world.name} has there, in the same path" in status_lines(blog.status())
    with blog.cli("up", "--take-over", "nobody") as process:
        assert f"deploy up --take-over {world.name}" in process.communicate(timeout=60)[0]
    assert process.returncode == 4


@once
def test_taking_over_ends_the_other_s_services_and_is_put_back_where_it_fails(world: World, blog: World) -> None:
    """Hole 2: on purpose it can be done, in one transaction; service names may be the same."""
    world.declare({"web": web(world.port, "1"), "more": web(world.port + 1, "1")})
    world.up()
    blog.web("b", command=["python3", "-c", "raise SystemExit(3)"])
    with pytest.raises(PutBack, match="exited with status 3"):
        rollout.up(blog.deployment(), take_over=world.name)
    assert world.version == "1"
    assert world.state()["project"] == world.name
    assert world.up().outcome == "unchanged"

    blog.web("b")
    rollout.up(blog.deployment(), take_over=world.name)

    assert blog.version == "b"
    assert not world.answers() and not world.answers(world.port + 1)
    with pytest.raises(Refused, match=f"is the folder of project '{blog.name}'"):
        world.up()
    # What the other one had there is no way back.
    with pytest.raises(Refused, match="no earlier release"):
        blog.rollback()
    blog.web("c")
    blog.up()
    blog.rollback()
    assert blog.version == "b"


@pytest.mark.slow
def test_a_project_may_be_renamed(world: World, tmp_path: Path) -> None:
    """Hole 2: a new name is another project until it is told apart from one."""
    world.web("1")
    world.up()
    old, world.name = world.name, world.name + "r"
    world.web("1")
    with pytest.raises(Refused, match="this is"):
        world.up()

    rollout.up(world.deployment(), take_over=old)

    assert world.version == "1"
    assert world.up().outcome == "unchanged"
    assert world.pid("web")


@once
def test_a_state_of_before_names_its_project_by_its_release(world: World, blog: World) -> None:
    """Hole 2: hosts that an older version deployed to are told apart, too."""
    world.web("1")
    world.up()
    forget = "import json,sys; p=sys.argv[1]; s=json.load(open(p)); s.pop('project',0); json.dump(s,open(p,'w'))"
    world.host.exec(["python3", "-c", forget, f"{world.path}/.deploy/state.json"])
    blog.web("b")

    with pytest.raises(Refused, match=f"is the folder of project '{world.name}'"):
        blog.up()

    assert world.version == "1"
    world.web("2")
    world.up()
    assert world.state()["project"] == world.name


@once
def test_no_project_settles_in_what_another_keeps_order_in(world: World, tmp_path: Path) -> None:
    """Hole 2, its kind: a folder below another project's own folders."""
    world.web("1")
    world.up()
    inner = World(
        tmp_path / "in", world.host, "supervisord", f"{world.path}/shared/prepared/x", world.port + 5, world.name + "i"
    )
    inner.web("1")

    with pytest.raises(Refused, match=f"lies in {world.path}/shared"):
        inner.up()


@pytest.mark.slow
def test_another_supervisor_in_the_same_folder_is_refused_until_the_old_programs_are_down(
    systemd_host: TestHost, place: Place, tmp_path: Path
) -> None:
    """Hole 2, its kind: what the old supervisor runs would go on, known to nobody."""
    prefix = {"name_prefix": f"{place.name}-"}
    world = World(
        tmp_path / "p", systemd_host, "supervisord", place.path, place.port(), place.name, target=dict(prefix)
    )
    world.web("1")
    world.up()
    world.platform = "systemd"
    world.declare({"web": web(world.port + 1, "2")})

    planned = rollout.plan(world.deployment())[0].plan
    assert planned.refused is not None and "what runs here is run by supervisord" in planned.refused.what
    with pytest.raises(Refused, match="what runs here is run by supervisord") as refusal:
        world.up()
    assert "deploy down" in refusal.value.next_step
    assert world.version == "1"
    world.down()
    assert not world.answers()

    world.up()
    assert world.get(port=world.port + 1)["version"] == "2"


def test_two_folders_never_have_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hole 2, its kind: /a/b and /a-b had one entry for the boot hook, and one socket."""
    monkeypatch.setenv(STATE_DIR_VARIABLE, str(tmp_path / "host"))
    roots = [str(tmp_path / name) for name in ("a/b", "a-b", "a_/b", "a_-b", "a--b", "a/-b")]
    for root in roots:
        boot.register(Layout(root), "agent", "supervisord")

    assert len(list((tmp_path / "host/projects").iterdir())) == len(roots)
    assert len(set(map(control_socket, roots))) == len(roots)
