"""Previews on real hosts: beside everything else, and gone without a trace."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from provision import rollout
from provision.cli.render.status import status_lines
from provision.contract.answers import Done
from provision.contract.requests import Preview
from provision.errors import PutBack, Refused
from provision.native.model import write_demo_model
from provision.targets import open_session
from tests.deploy.world import World, web

ON_ONE = pytest.mark.parametrize("platform", ["supervisord"])  # what has nothing to do with who starts programs


@pytest.fixture
def served(world: World) -> Iterator[World]:
    """A project that serves; all of it is ended afterwards."""
    world.web("1")
    world.up()
    yield world
    for each in previews(world):
        rollout.down_preview(world.deployment(), each["name"])
    world.down()


def up(world: World, name: str = "pr-7", seconds: float | None = None) -> int:
    """Deploy a preview; its port."""
    (event,) = rollout.up_preview(world.deployment(), name, seconds)
    return int(event["ports"]["web"])


def previews(world: World) -> list[Any]:
    return list(world.status().project.get("previews", ()))


def test_a_preview_runs_beside_the_project_and_leaves_nothing_behind(served: World) -> None:
    pid, state = served.pid("web"), served.state()
    served.web("2")

    port = up(served)

    assert (served.get(port=port)["version"], served.version) == ("2", "1")
    assert (served.pid("web"), served.state()) == (pid, state), "the project was not touched"
    (there,) = previews(served)
    assert (there["name"], there["until"], there["expired"]) == ("pr-7", None, False)
    assert len(there["programs"]) == 1
    status = rollout.status(rollout.named_preview(served.deployment(), "pr-7"))[0]
    assert status.state == "serving"
    assert "down" not in there

    stop = {"supervisord": "supervisorctl stop", "systemd": "systemctl stop"}[served.platform]
    served.host.exec([*stop.split(), there["programs"][0]])
    (there,) = previews(served)
    assert list(there["down"]) == there["programs"]
    lines = "\n".join(status_lines(served.status()))
    assert f"but {there['programs'][0]} is stopped; until somebody removes it" in lines
    assert "next: deploy logs --preview pr-7; deploy status --preview pr-7" in lines

    rollout.down_preview(served.deployment(), "pr-7")

    assert not served.answers(port)
    assert not previews(served)
    assert served.host.exec(["ls", "-A", f"{served.path}.previews"], check=False).returncode != 0
    registered = served.host.exec(["sh", "-c", "cat /var/lib/deploy/projects/*"]).stdout
    assert served.path in registered
    assert ".previews" not in registered
    assert served.pid("web") == pid


@ON_ONE
@pytest.mark.slow
def test_a_preview_keeps_its_port_and_takes_none_that_is_in_use(served: World) -> None:
    first = up(served, "a")
    served.web("2")
    assert up(served, "a") == first
    assert served.get(port=first)["version"] == "2"
    rollout.down_preview(served.deployment(), "a")
    listens = 'import socket, sys; s = socket.create_server(("", int(sys.argv[1]))); print("held", flush=True); input()'
    with served.held(f"exec python3 -c '{listens}' $1", str(first)):
        assert up(served, "a") != first


@pytest.mark.slow
def test_one_that_fails_is_put_back_and_stays_known_until_it_is_removed(served: World) -> None:
    pid = served.pid("web")
    served.declare({"web": web(served.port, "2", env={"VERSION": "2", "FAIL": "exit"})})
    with pytest.raises(PutBack):
        up(served)
    assert served.pid("web") == pid
    assert [(each["name"], each["programs"]) for each in previews(served)] == [("pr-7", [])]
    rollout.down_preview(served.deployment(), "pr-7")
    assert not previews(served)


@ON_ONE
@pytest.mark.slow
def test_what_is_wanted_no_more_is_told_and_ended_and_what_is_wanted_longer_stays(served: World) -> None:
    up(served, "over", 3600)
    assert previews(served)[0]["until"] > time.time() + 3000
    up(served, "over", 0.001)  # said anew; nothing else of it changed
    kept = up(served, "kept", 3600)
    up(served, "kept")

    deployment = served.deployment()
    rollout.up(deployment)
    assert deployment.expired == {"over"}, "any deploy hears of it"
    assert rollout.down_expired(deployment) == ["over"]

    (there,) = previews(served)
    assert there["name"] == "kept"
    assert there["until"] > time.time() + 3000, "an `up` that says nothing leaves it"
    assert served.answers(kept)
    assert rollout.down_expired(served.deployment()) == []


@ON_ONE
@pytest.mark.slow
def test_a_model_that_the_project_has_is_not_shipped_again_nor_lost_with_the_preview(served: World) -> None:
    write_demo_model(served.folder / "models" / "demo.gguf")
    served.declare({"web": web(served.port, "1", model="models/demo.gguf")})
    served.up()

    deployment = served.deployment()
    rollout.up_preview(deployment, "pr-7")

    assert "model" not in {event.get("phase") for event in served.events}
    inodes = ["sh", "-c", f"stat -c %i {served.path}*/shared/models/*/* {served.path}.previews/*/shared/models/*/*"]
    assert len(set(served.host.exec(inodes).stdout.split())) == 1
    rollout.down_preview(served.deployment(), "pr-7")
    assert served.pid("web")
    assert served.host.exec(["sh", "-c", f"cmp {served.path}/stable/models/demo.gguf {served.path}/shared/models/*/*"])


@ON_ONE
def test_a_folder_is_no_preview_by_what_others_say_nor_removed_while_it_runs(served: World) -> None:
    port = up(served)
    deployment = served.deployment()
    with open_session(deployment, deployment.hosts[0]) as session:
        with pytest.raises(Refused, match="the preview pr-7 has not ended"):
            session.conversation.ask({"op": "forget-preview", "name": "pr-7"}, Done)
        note: Preview = {"op": "preview", "seconds": 1, "port": 1, "ports": 1, "models": [], "engines": []}
        with pytest.raises(Refused, match="is no preview's folder"):
            session.conversation.ask(note, Done)
    assert served.answers(port)

    noted = f"{served.path}.previews/pr-7/.deploy/preview.json"
    served.host.exec(["chown", "ann", noted])
    (there,) = previews(served)
    assert (there["port"], there["programs"]) == (0, [])
    assert "preview.json belongs to ann" in there["untrusted"]
    with pytest.raises(Refused, match="can't be trusted"):
        rollout.down_preview(served.deployment(), "pr-7")
    assert not served.answers(port), "what its supervisor shows of it has ended, by that alone"
    served.host.exec(["chown", "root", noted])


@ON_ONE
def test_what_runs_once_does_so_in_a_preview_and_can_be_said_to_be_done(served: World) -> None:
    began = f"{served.path}.previews/began"
    command = ["sh", "-c", f"echo $PWD >>{began}; kill -9 $$$$"]
    served.declare({"web": web(served.port, "2")}, **{"once.migrate": {"command": command}})
    with pytest.raises(PutBack, match="was killed by signal 9"):
        up(served)
    with pytest.raises(Refused, match="was cut off in the middle") as refused:
        up(served)
    assert "deploy up --preview pr-7 --done migrate, if it is done" in refused.value.next_step

    (event,) = rollout.up_preview(served.deployment(), "pr-7", done=["migrate"])

    assert served.get(port=int(event["ports"]["web"]))["version"] == "2"
    assert ".previews/pr-7/releases/" in served.host.read(began).decode()
    served.host.exec(["rm", began])
