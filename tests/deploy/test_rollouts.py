"""A canary gets its share by hand or by steps, and is judged: the verbs, on a real host with real HAProxy."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.typed import deploy, events, steps
from tests.deploy.visitors import behind_a_front, crowd
from tests.deploy.world import World
from tests.faults.hooks import until
from tests.images.make import KEY, private_pem, public_pem


@pytest.fixture
def platform() -> str:
    return "supervisord"


@pytest.fixture
def world(world: World) -> Iterator[World]:
    yield from behind_a_front(world)


def lanes(world: World) -> dict[str, Any]:
    (told,) = [each for each in events(world, "traffic") if each["event"] == "traffic"]
    return dict(told["services"]["web"]["lanes"])


def test_a_share_is_given_by_hand_and_seen_wherever_one_looks(world: World) -> None:
    world.web("1")
    deploy(world, "up")
    world.web("2")
    said = deploy(world, "up", "--channel", "canary", "--weight", "100%")
    assert "the canary has 100% of the clients; next: deploy traffic" in said
    assert world.version == "2"

    said = deploy(world, "traffic", "here", "canary=0%")
    assert "canary has now 0% of the clients" in said
    assert world.version == "1"
    assert {name: lane["share"] for name, lane in lanes(world).items()} == {"stable": 1.0, "canary": 0.0}
    assert "canary has 0% of the clients, given by hand" in deploy(world, "status")
    assert "weigh" in deploy(world, "history")

    with crowd(world):
        deploy(world, "traffic", "canary=50%")
        until(lambda: all(lane["seen"]["requests"] for lane in lanes(world).values()), "both lanes are counted")
    shown = deploy(world, "traffic")
    assert "first byte p50" in shown
    assert "50%" in shown
    deploy(world, "traffic", "canary=50%")  # again, which changes nothing
    deploy(world, "promote")
    assert world.version == "2"


def test_a_canary_that_is_no_worse_is_promoted_by_the_host(world: World) -> None:
    world.web("1")
    deploy(world, "up")
    world.target["rollout"] = steps("50%", "100%")
    world.web("2")
    assert "50%, 100% of the clients" in deploy(world, "plan")

    with crowd(world) as met:
        said = deploy(world, "up")
        assert "next: deploy rollout watch" in said
        told = events(world, "rollout", "watch")

    assert told[-1]["outcome"] == "promoted"
    assert {each["event"] for each in told} >= {"rollout", "result"}
    assert world.version == "2"
    assert (met["errors"], met["failed"]) == (0, [])
    assert "rollout promoted" in deploy(world, "history")
    assert "unchanged" in deploy(world, "up")


@pytest.mark.slow
def test_a_canary_with_errors_is_aborted_and_says_why_wherever_one_looks(world: World) -> None:
    world.web("1")
    deploy(world, "up")
    world.target["rollout"] = steps("50%")
    world.web("2", env={"VERSION": "2", "ERRORS": "0.9"})

    with crowd(world):
        deploy(world, "up")
        told = deploy(world, "rollout", "watch", "here", code=1)

    assert "aborted: step 1 of 1 (50 %)" in told
    assert "next: deploy logs --channel canary" in told
    assert "of the canary's requests failed" in deploy(world, "history")
    assert "aborted" in deploy(world, "status")
    assert lanes(world)["canary"]["share"] == 0.0
    assert world.version == "1"
    assert deploy(world, "rollout", "watch", code=1).splitlines()[-2:] == told.splitlines()[-2:]
    assert "no rollout is under way here" in deploy(world, "rollout", "pause", code=4)


@pytest.mark.slow
def test_while_one_is_under_way_another_up_is_refused_by_name_and_somebody_may_say_what_becomes_of_it(
    world: World,
) -> None:
    world.web("1")
    deploy(world, "up")
    world.target["rollout"] = steps("10%", "50%", each="10m")
    world.web("2")
    deploy(world, "up")
    assert "unchanged" in deploy(world, "up")
    assert "step 1 of 2: 10% of the clients; running" in deploy(world, "status")

    assert "paused" in deploy(world, "rollout", "pause")
    refused = deploy(world, "traffic", "canary=20%", code=4)
    assert "a rollout of release" in refused
    assert "deploy rollout abort" in refused
    assert "running" in deploy(world, "rollout", "resume")

    world.web("3")
    refused = deploy(world, "up", code=4)
    assert "a rollout of release" in refused
    assert "deploy up --abort-rollout" in refused
    assert "up would be refused: a rollout of release" in deploy(world, "plan", code=4)
    assert "ends the rollout that is under way" in deploy(world, "plan", "--abort-rollout")
    deploy(world, "up", "--abort-rollout")
    assert lanes(world)["canary"]["share"] == 0.1

    deploy(world, "rollout", "promote")
    assert world.version == "3"
    watched = events(world, "rollout", "watch")
    assert watched[-1]["outcome"] == "promoted"


@pytest.mark.slow
def test_ctrl_c_ends_the_watching_alone_and_up_to_stable_asks_nobody(world: World) -> None:
    world.web("1")
    deploy(world, "up")
    world.target["rollout"] = steps("10%", each="10m")
    world.web("2")
    deploy(world, "up")
    with world.cli("rollout", "watch") as watching:
        assert watching.stdout is not None
        until(lambda: "step 1 of 1" in str(watching.stdout and watching.stdout.readline()), "it shows the step")
        os.kill(watching.pid, signal.SIGINT)
        said, _ = watching.communicate(timeout=60)
    assert (watching.returncode, "the rollout goes on" in said) == (130, True)
    assert world.state()["rollout"]["status"] == "running"

    deploy(world, "rollout", "abort")
    deploy(world, "up", "--channel", "stable")
    assert world.version == "2"


@pytest.mark.slow
def test_where_evidence_is_required_it_passes_and_who_has_the_key_promotes(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (world.folder / "evidence.pub").write_bytes(public_pem(KEY))
    world.target["require"] = "evidence"
    monkeypatch.setenv("DEPLOY_EVIDENCE_KEY", private_pem(KEY))
    monkeypatch.setenv("HOME", str(tmp_path))
    world.web("1")
    deploy(world, "up", "--channel", "canary")
    deploy(world, "promote")
    world.target["rollout"] = steps("50%")
    world.web("2")

    with crowd(world):
        deploy(world, "up")
        told = deploy(world, "rollout", "watch")

    assert "passed" in told
    assert "next: deploy rollout promote" in told
    assert lanes(world)["canary"]["share"] == 0.5
    deploy(world, "rollout", "promote")
    assert world.version == "2"
    assert "rollout promoted" in deploy(world, "history")


MISTAKES = [
    (["traffic", "canry=5%"], 2, 'no lane is called "canry". Did you mean "canary"?'),
    (["traffic", "stable=5%"], 2, "stable has what the canary leaves."),
    (["traffic", "canary=500%"], 2, 'canary=500%: expected a share from "0%" to "100%".'),
    (["traffic", "her", "canary=5%"], 2, 'no target is called "her". Did you mean "here"?'),
    (["traffic", "canary=5%", "canary=6%"], 2, "one target, and one lane's share."),
    (["rollout", "watch", "her"], 2, 'no target is called "her". Did you mean "here"?'),
    (["rollout", "stop"], 2, "deploy rollout"),
    (["up", "--weight", "5%"], 2, "a weight is a canary's: stable has what that leaves."),
    (["up", "--channel", "canary", "--weight", "5"], 2, '--weight 5: expected a share from "0%" to "100%".'),
    (["traffic", "canary=5%"], 4, "there is no canary"),
    (["rollout", "watch"], 4, "no rollout is under way here"),
]


def test_what_cannot_be_is_refused_with_the_way_out(world: World) -> None:
    world.web("1")
    deploy(world, "up")
    for words, code, said in MISTAKES:
        assert said in " ".join(deploy(world, *words, code=code).split()), words

    world.target["traffic"] = "none"
    world.web("1")
    for words in (["traffic"], ["rollout", "watch"], ["up", "--channel", "canary", "--weight", "5%"]):
        assert "targets.here has no traffic" in deploy(world, *words, code=2)
