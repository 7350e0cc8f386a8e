"""A release that no step of a rollout holds back, although the target declares some."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from provision.contract.slots import KEEPER, TRAFFIC
from provision.contract.state import Program, State
from provision.plan import Plan
from provision.targets.shares import with_shares

OLD, NEW = "a" * 64, "b" * 64


def program(service: str) -> Program:
    return Program(service, "stable", "", OLD, "", "")


def warnings_of(steps: list[float], serves: str, *services: str) -> tuple[str, ...]:
    deployment: Any = SimpleNamespace(target=SimpleNamespace(rollout=SimpleNamespace(steps=steps)))
    channels = {"stable": serves} if serves else {}
    state = State(channels=channels, programs={name: program(name) for name in services})
    planned = Plan(kind="up", channel="stable", release=NEW, current=serves, generation=1)
    return with_shares(deployment, planned, state, None, aborts=False).warnings


def test_who_declares_steps_is_warned_that_nobody_is_there_to_judge_them() -> None:
    (said,) = warnings_of([0.1], OLD, "web", TRAFFIC)

    assert "all clients at once" in said


@pytest.mark.parametrize(
    ("steps", "serves", "services"),
    [
        ([], OLD, ("web", TRAFFIC)),
        ([0.1], OLD, ("web", TRAFFIC, KEEPER)),  # stable was asked for by name
        ([0.1], NEW, ("web", TRAFFIC)),
        ([0.1], "", ()),
    ],
    ids=["no steps", "somebody is there", "it serves already", "nothing serves yet"],
)
def test_nobody_else_is(steps: list[float], serves: str, services: tuple[str, ...]) -> None:
    assert warnings_of(steps, serves, *services) == ()
