"""Rollouts of a world, asked for as a laptop does, on the wire."""

from __future__ import annotations

import time
from typing import Any, TypeVar, cast

from provision.contract.answers import Done, Traffic, Transacted
from provision.contract.requests import Request
from provision.contract.rollout import LimitsDocument, RolloutDocument, RolloutRecord
from provision.targets import open_session
from tests.deploy.world import World
from tests.faults.hooks import until

A = TypeVar("A", bound=Done)


def ask(world: World, request: dict[str, Any], expected: type[A]) -> A:
    """What the host of a world answers."""
    deployment = world.deployment()
    with open_session(deployment, deployment.hosts[0], install=True) as session:
        return session.conversation.ask(cast("Request", request), expected)


def traffic(world: World, minutes: int = 10) -> Traffic:
    return ask(world, {"op": "traffic", "minutes": minutes}, Traffic)


def weigh(world: World, share: float) -> Transacted:
    return ask(world, {"op": "weigh", "share": share}, Transacted)


def steer(world: World, action: str) -> Transacted:
    return ask(world, {"op": "rollout", "action": action}, Transacted)


def document(
    *steps: float, each: float = 2.0, at_most: float = 60.0, undecided: str = "hold", **abort: float
) -> RolloutDocument:
    return {
        "steps": list(steps),
        "each": each,
        "at_most": at_most,
        "undecided": undecided,
        "abort": cast("LimitsDocument", abort),
    }


def begin(world: World, rollout: RolloutDocument, *, evidence: bool = False, **more: Any) -> Transacted:
    """Begin a rollout of the canary that is there, as `up` of the same release does."""
    return up(world, "canary", rollout={"document": rollout, "evidence": evidence}, **more)


def up(world: World, channel: str, **more: Any) -> Transacted:
    """An `up` of the release that a channel has."""
    state = world.state()
    request = {
        "op": "transaction",
        "kind": "up",
        "channel": channel,
        "release": state["channels"][channel],
        "generation": None,
        "steps": None,
        "secrets": {},
        "platform": state["platform"],
        "supervisor": {},
        "logins": {},
        "gpus": False,
        "keep": 3,
        **more,
    }
    return ask(world, request, Transacted)


def record(world: World) -> RolloutRecord:
    """The rollout that the state has."""
    return cast("RolloutRecord", world.state()["rollout"])


def ended(world: World, seconds: float = 60.0) -> RolloutRecord:
    """What became of the rollout, once nothing goes on with it by itself."""
    until(lambda: record(world)["status"] != "running", "the rollout has ended", seconds)
    time.sleep(0.1)
    return record(world)


def line(canary: str, ended: RolloutRecord, requests: int) -> str:
    """One of one step, for who writes the table of benchmarks/README.md."""
    return f"{canary}: {ended['status']}, {requests} requests, {(ended['since'] - ended['began']) / 60:.2f} minutes"
