"""Hosts that a release reaches in turn: a project, its hosts, and their users."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.deploy import typed
from tests.deploy.visitors import crowd
from tests.deploy.world import World
from tests.testbed import TestHost

SICK = "/workspace/sick"  # a host that has it has errors


@dataclass
class Fleet:
    """A project, and three hosts: the canary first, then one, then another."""

    world: World
    each: list[World]

    @property
    def names(self) -> list[str]:
        return [world.host.address for world in self.each]

    def steps(self, *steps: str, each: str = "1s") -> None:
        """Declare them, the hosts taking turns one by one."""
        times = {"each": each, "at_most": "20m"}
        batches = {"canary": 1, "batch": 1}
        self.world.target["rollout"] = {"steps": list(steps), "abort": {"errors": "5%"}, **times, **batches}

    def web(self, version: str, *steps: str, each: str = "1s", **more: Any) -> None:
        if steps:
            self.steps(*steps, each=each)
        self.world.web(version, **more)

    def deploy(self, *words: str, code: int = 0) -> str:
        """What `deploy` says to people; for several hosts it takes longer."""
        return typed.deploy(self.world, *words, code=code, seconds=300)

    def ends(self, *words: str, code: int = 0) -> dict[str, str]:
        """Host -> how its rollout ended, as programs are told."""
        events = map(json.loads, self.deploy("rollout", "watch", *words, "--json", code=code).splitlines())
        return {event["host"]: event["outcome"] for event in events if event["event"] == "result"}

    @property
    def versions(self) -> list[str]:
        return [world.version for world in self.each]

    @property
    def statuses(self) -> list[str]:
        return [(world.state().get("rollout") or {"status": "none"})["status"] for world in self.each]

    @contextlib.contextmanager
    def users(self, ports: int = 1) -> Iterator[list[dict[str, Any]]]:
        """While many come to each host, to so many of its ports."""
        with contextlib.ExitStack() as stack:
            yield [
                stack.enter_context(crowd(world, threads=2, pause=0.01, port=world.port + number))
                for world in self.each
                for number in range(ports)
            ]


def in_turn(first: World, hosts: Sequence[TestHost]) -> Fleet:
    """The project of a world on these hosts, with traffic: that of the world first."""
    first.target |= {"hosts": [f"root@{host.address}" for host in hosts], "traffic": {}}
    each = [first, *(replace(first, host=host) for host in hosts[1:])]
    (first.folder / "known_hosts").write_text("".join(f"{host.address} {host.host_key}\n" for host in hosts))
    return Fleet(first, each)
