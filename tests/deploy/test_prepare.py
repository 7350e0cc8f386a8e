"""Hole 6: a prepare step writes inside its release, ends with the deploy, and shows no secret."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from provision import rollout
from provision.cli.render.plan import plan_lines
from provision.contract import tree
from provision.contract.answers import Done, Folder, Logs, Present
from provision.contract.canonical import canonical
from provision.errors import DeployError, Interrupted, PutBack, Refused
from provision.targets import HostConversation, Interrupt, open_session
from tests.deploy.world import World, web
from tests.faults.hooks import at, in_background, laptop, until

pytestmark = pytest.mark.root

# Leaves a process that no process group, no session and no parent has, and that writes into the output for ever.
LEAVES = "(setsid setsid sh -c 'while :; do date >made/late; sleep 0.05; done' left-behind &) &"
KEY = "-----BEGIN KEY-----\nMIIEtopsecretline1AAAA\nMIIEtopsecretline2BBBB\n-----END KEY-----"


@pytest.fixture
def platform() -> str:
    return "supervisord"  # the step runs before a supervisor is asked for anything


def declare(world: World, script: str, version: str = "1", env: str = "", **more: Any) -> None:
    prepare = {"command": ["sh", "-c", script], "outputs": ["made"], **more}
    world.declare({"web": web(world.port, version)}, env=env, prepare=prepare)


def left_behind(world: World) -> list[int]:
    return world.host.pids("left-behind")


@pytest.mark.parametrize(
    ("then", "said"),
    [("sleep 1000", "did not end in 1 s"), ("", ""), pytest.param("exit 7", "status 7", marks=pytest.mark.slow)],
)
def test_a_prepare_step_ends_with_all_that_it_started(world: World, then: str, said: str) -> None:
    declare(
        world,
        f"{LEAVES} until [ -e made/late ]; do sleep 0.02; done; {then}",
        timeout="1s" if then.startswith("sleep") else "1m",
    )

    if said:
        with pytest.raises(DeployError, match=said):
            world.up()
    else:
        world.up()
        assert world.version == "1"
        assert any("they were ended" in event["text"] for event in world.events if event["event"] == "warning")

    assert not left_behind(world)


def test_ctrl_c_ends_a_prepare_step_and_disturbs_nothing(world: World) -> None:
    world.web("1")
    world.up()
    declare(world, f"{LEAVES} echo begun; sleep 1000", "2")
    interrupt = Interrupt()
    at(world, interrupt.request, event="output", text="begun")

    with pytest.raises(Interrupted, match="being prepared"):
        world.up(interrupt=interrupt)

    assert not left_behind(world)
    assert world.version == "1"


@pytest.mark.parametrize("gone", [pytest.param("the laptop", marks=pytest.mark.slow), "the agent, by unlock --yes"])
def test_who_comes_after_a_prepare_step_that_was_cut_off_has_its_outputs_alone(world: World, gone: str) -> None:
    declare(world, f"{LEAVES} echo begun; sleep 1000")
    if gone == "the laptop":
        with laptop(world, event="output", text="begun"):
            assert left_behind(world)
    else:
        begun = threading.Event()
        at(world, begun.set, event="output", text="begun")
        deployment = world.deployment()
        deployment.on_event = world.events.append
        with in_background(lambda: rollout.up(deployment)) as result:
            assert begun.wait(30)
            rollout.unlock(World.deployment(world), yes=True)
        assert isinstance(result[0], DeployError)
    until(lambda: not left_behind(world), "it ends with who asked for it")
    declare(world, "echo mine >made/it")
    world.up()

    assert world.host.exec(["ls", f"{world.path}/stable/made"]).stdout.split() == ["it"]


def test_a_secret_is_shown_neither_whole_nor_by_line_nor_in_a_log(world: World) -> None:
    """What the step prints, and the last lines of a service that tells its own secret when it fails."""
    env = "KEY='" + KEY + "'\nA=secret-abc\nB=secret-abc-and-more-XYZ\n"
    in_parts = 'printf %.6s "$B"; sleep 0.1; printf %s "$B" | tail -c +7'
    script = f'env; printf "%s" "$KEY" | base64; {in_parts}; exit 1'
    declare(world, script, env=env, secrets=["KEY", "A", "B"])
    with pytest.raises(DeployError, match="status 1") as failure:
        world.up()
    told = json.dumps(world.events) + str(failure.value)

    fails = web(world.port, command=["sh", "-c", 'echo "$KEY, $B"; exit 1'], secrets=["KEY", "A", "B"])
    world.declare({"web": {**fails, "check": {"tcp": "${port}", "timeout": "5s"}}}, env=env)
    with pytest.raises(PutBack) as failed:
        world.up()
    told += json.dumps(world.events) + str(failed.value) + json.dumps(failed.value.log)
    told += world.host.exec(["sh", "-c", f"cat {world.path}/.deploy/transactions/*"]).stdout

    assert "KEY=<KEY>" in told
    assert "<B>" in told
    assert list(failed.value.log) == ["<KEY>", "<KEY>", "<KEY>", "<KEY>, <B>"]
    for part in ("topsecretline", "secret-abc", "more-XYZ", "TUlJRXRvcHNlY3JldGxpbmUx"):
        assert part not in told


def test_endless_output_fills_no_memory_and_its_end_is_shown(world: World) -> None:
    """Issue 13, 7: neither without an end nor without a newline."""
    declare(world, "head -c 40000000 /dev/zero | tr '\\0' x; echo; seq 300000; echo the end; exit 1")

    with pytest.raises(DeployError) as failure:
        world.up()

    told = [event["text"] for event in world.events if event["event"] == "output"]
    assert max(map(len, told)) < 10_000
    assert sum(map(len, told)) < 2_000_000
    assert told[-1] == failure.value.log[-1] == "the end"
    assert any("are not shown" in text for text in told)


# --- what the agent believes of the wire ------------------------------------------------------------------------------


def sealed(session: HostConversation, world: World, files: Path, **document: Any) -> None:
    """Ask the agent to seal what lies in `files`, as a toolkit would that judges nothing."""
    whole = {**session.deployment.release.document, **document}
    release = tree.release_id(canonical(whole), tree.digest(str(files))[0])
    folder = f"{world.path}/releases/.incoming-wire"
    world.host.exec(["mkdir", "-p", folder])
    for path in files.iterdir():
        if path.is_symlink():
            world.host.exec(["ln", "-sfn", str(path.readlink()), f"{folder}/{path.name}"])
    session.conversation.ask(
        {"op": "seal", "nonce": "wire", "release": release, "document": whole, "remove": [], "secrets": {}}, Done
    )


def test_nothing_on_the_wire_leads_the_agent_out_of_the_project(world: World, tmp_path: Path) -> None:
    world.web("1")
    deployment = world.deployment()
    away = f"/tmp/away-{world.name}"
    world.host.write(f"{away}/kept", "kept")
    upload = tmp_path / "upload"
    upload.mkdir()
    (upload / "way").symlink_to(away)
    step = {"command": ["true"], "inputs": [], "outputs": [], "env": {}, "timeout": 20}

    def refused(what: str) -> Any:
        return pytest.raises(Refused, match=what)

    with open_session(deployment, deployment.hosts[0]) as session:
        ask = session.conversation.ask
        session.facts({"claim": True, "nonce": "wire"})
        for output in (f"../../../..{away}/evil", f"{away}/evil", "made/../../x", "release.json", ".complete"):
            with refused("output"):
                sealed(session, world, upload, prepare={**step, "outputs": [output]})
        with refused("lie in each other"):
            sealed(session, world, upload, prepare={**step, "outputs": ["made", "made/in"]})
        with refused(f"leads out of the release: a link on its way goes to {away}"):
            sealed(session, world, upload, prepare={**step, "outputs": ["way/evil"]})
        with refused("leads out of the release"):
            sealed(session, world, upload, prepare={**step, "inputs": ["way/kept"]})
        with refused("leads out of the release"):
            sealed(session, world, upload, links={"way/evil": "x"})
        with refused("leads out of the release"):
            document = session.deployment.release.document
            seal = {"nonce": "wire", "release": "x", "document": document, "remove": ["way/kept"], "secrets": {}}
            ask({"op": "seal", **seal}, Done)
        with refused("no sha256"):
            ask({"op": "incoming", "sha256": "../../../x"}, Folder)
        with refused("can't be the name of a file"):
            ask({"op": "incoming", "nonce": "x/../../../x"}, Folder)
        with refused("can't be the name of a file"):
            ask({"op": "adopt-model", "sha256": "0" * 64, "name": "../../../x"}, Present)
        with refused("can't be the name of a file"):
            ask({"op": "logs", "programs": ["../../x"], "platform": "supervisord", "supervisor": {}}, Logs)

    assert world.host.exec(["ls", away]).stdout.split() == ["kept"]


def test_a_plan_removes_nothing_that_the_host_made_itself(world: World) -> None:
    (world.folder / "page.txt").write_text("old")
    declare(world, "mkdir -p made .venv/bin && echo 1 >made/one && echo 1 >.venv/bin/two", outputs=["made", ".venv"])
    world.up()

    (world.folder / "page.txt").write_text("new")
    files = rollout.plan(world.deployment())[0].plan.files

    assert (files.added, files.changed, files.removed) == ((), ("page.txt",), ())


def test_a_plan_says_how_much_is_shipped_and_names_what_is_large(world: World) -> None:
    declare(world, "mkdir made")
    with (world.folder / "dump.sql").open("wb") as file:
        file.truncate(60_000_000)

    shown = [*plan_lines("here", rollout.plan(world.deployment())[0].plan)]

    assert "  large: 'dump.sql', 60.0 MB" in shown
    assert "  ship 2 files, 60.0 MB at most" in shown
