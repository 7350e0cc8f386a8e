"""A hundred changes in a row under users who never stop, and workers that are killed at random: nobody meets one.

`SOAK_SEED` repeats the choices of a run. `TRAFFIC_SOAK` says how long it is, such as
`changes=100,streams=20,seconds=60,requests=200000,pause=0.05`; what is left out is as in the normal run.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from provision import rollout
from provision.errors import DeployError, Refused
from tests.deploy.visitors import visitors
from tests.deploy.world import World, web
from tests.faults.hooks import in_background, living_worker, until
from tests.testbed import Kind
from tests.testbed.fixtures import MakeHost, Place

pytestmark = [pytest.mark.root]

_SEED = int(os.environ.get("SOAK_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
_ASKED = dict(each.split("=") for each in os.environ.get("TRAFFIC_SOAK", "").split(",") if each)
_VERSIONS = "12345"
_KILLED = 0.2  # of all changes
_QUICK = {"http": "/health", "timeout": "20s", "interval": "20ms", "passes": 1}


@dataclass(frozen=True)
class Length:
    """How much of it there is."""

    changes: int
    streams: int  # open at any time
    seconds: float  # of each
    requests: int
    pause: float = 0.05  # of a client between two requests

    def asked(self) -> Length:
        return Length(**{name: type(own)(_ASKED.get(name, own)) for name, own in vars(self).items()})


SHORT = Length(changes=4, streams=4, seconds=2, requests=200)
WHOLE = Length(changes=100, streams=20, seconds=60, requests=200_000)
OTHERS = Length(changes=20, streams=20, seconds=10, requests=10_000)


@dataclass
class Story:
    """One project that is changed again and again, and what became of each change.

    `web` is replaced beside. `api` calls it for each of its answers. `held` is replaced in place.
    """

    world: World
    length: Length
    told: list[str] = field(default_factory=list)
    did: Counter[str] = field(default_factory=Counter)
    longest: float = 1.0  # seconds that a change has taken

    def declare(self, version: str, *, sick: bool = False, unwanted: bool = False) -> None:
        port, drain = self.world.port, f"{self.length.seconds + 30:.0f}s"
        calls = {"VERSION": version, "CALLS": f"http://127.0.0.1:{port}"}
        services: dict[str, dict[str, Any]] = {
            "web": web(port, version, check=_QUICK, drain=drain),
            "api": web(port + 1, check=_QUICK, drain=drain, env=calls, after=["web"]),
            "held": web(port + 2, version, check=_QUICK, drain=drain, switch="in-place"),
        }
        if sick:
            services["api"] |= {"check": {**_QUICK, "status": [418], "timeout": "1s"}}
        never: dict[str, Any] = {"http": f"http://127.0.0.1:{port}/", "status": [418], "timeout": "1s"}
        sections: dict[str, Any] = {"checks.never": never} if unwanted else {}
        self.world.declare(services, **sections)

    def change(self, dice: random.Random) -> None:
        """One of those that have something to do now, and perhaps the death of its worker."""
        kinds: dict[str, tuple[Callable[[], object], bool]] = {
            "up": (self.world.up, True),
            "rollback": (self.world.rollback, True),
            "canary": (lambda: self.world.up("canary"), True),
            "sick": (self.world.up, False),
            "unwanted": (self.world.up, False),
        }
        weights = {"up": 4, "rollback": 3, "canary": 2, "sick": 2, "unwanted": 1}
        if "canary" in self.world.state()["channels"]:
            kinds["promote"], weights["promote"] = (self.world.promote, True), 5
        name = dice.choices(list(weights), list(weights.values()))[0]
        act, is_good = kinds[name]
        version = dice.choice([each for each in _VERSIONS if each != self.world.version])
        self.declare(version, sick=name == "sick", unwanted=name == "unwanted")
        is_killed, began = dice.random() < _KILLED, time.monotonic()
        at = dice.uniform(0, self.longest)
        self.told.append(f"{len(self.told)}: {name} of {version}{f', killed after {at:.1f} s' if is_killed else ''}")
        with in_background(act, seconds=600) as result:
            if is_killed:
                self._kill(at, result)
        spent = time.monotonic() - began
        self.told[-1] += f": {result[0] if isinstance(result[0], DeployError) else 'done'} ({spent:.0f} s)"
        print(self.told[-1], flush=True)  # noqa: T201
        self.longest = max(self.longest, 0.0 if is_killed else spent)
        if isinstance(result[0], Refused) and name == "rollback":
            self.did["refused"] += 1  # there is nothing to go back to
        elif is_killed:
            self.did["killed"] += 1
            if dice.random() < 0.5:  # else the next change ends what was begun
                rollout.unlock(self.world.deployment(), yes=True)
        else:
            self.did[name] += 1
            assert isinstance(result[0], DeployError) != is_good, result[0]
            if not is_good:
                assert "The old release" in str(result[0])
        assert self.world.version in _VERSIONS

    def _kill(self, at: float, result: list[object]) -> None:
        until(lambda: bool(result) or living_worker(self.world) is not None, "a worker is there", 60)
        time.sleep(at)
        worker = living_worker(self.world)
        if worker is not None:
            self.world.host.kill(worker.pid)


@pytest.mark.parametrize(
    ("platform", "length"),
    [
        pytest.param("supervisord", SHORT, id="supervisord-short"),
        pytest.param("supervisord", WHOLE, id="supervisord", marks=[pytest.mark.slow, pytest.mark.timeout(4 * 3600)]),
        pytest.param("systemd", OTHERS, id="systemd", marks=[pytest.mark.slow, pytest.mark.timeout(3600)]),
    ],
)
def test_no_request_fails_through_so_many_changes_and_each_stream_is_whole(
    platform: str, length: Length, make_host: MakeHost, place: Place, tmp_path: Path
) -> None:
    length = length.asked()
    target = {"traffic": {"hold": "5m", "canary": 30}}
    world = World(
        tmp_path / "p", make_host(Kind(platform)), platform, place.path, place.port(), place.name, target=target
    )
    story, began = Story(world, length), time.monotonic()
    for version in _VERSIONS[:2]:
        story.declare(version)
        world.up()
    third = length.requests // 3 + 1
    met: dict[str, dict[str, Any]] = {}
    common: dict[str, Any] = {"pause": length.pause, "least": third, "short": 6}
    try:
        with ExitStack() as stack:
            for number, (name, streams) in enumerate({"web": 2, "api": 2, "held": 0}.items()):
                open_ = (length.streams + 1) // streams if streams else 0
                asked = {**common, "streams": open_, "seconds": length.seconds, "port": world.port + number}
                met[name] = stack.enter_context(visitors(world, **asked))
            while sum(story.did.values()) - story.did["refused"] < length.changes:
                story.change(random.Random(f"{_SEED} {len(story.told)}"))
    finally:
        print(f"SOAK_SEED={_SEED}, {time.monotonic() - began:.0f} s, {dict(story.did)}")  # noqa: T201
        print({name: _figures(each) for name, each in met.items()})  # noqa: T201
    rollout.unlock(world.deployment(), yes=True)
    story.declare(_VERSIONS[0])
    world.up()
    assert world.version == _VERSIONS[0]
    if "canary" in world.state()["channels"]:
        world.down("canary")
    assert sorted(each["service"] for each in world.state()["programs"].values()) == [
        "api",
        "held",
        "keeper",
        "traffic",
        "web",
    ]


def _figures(met: dict[str, Any]) -> dict[str, Any]:
    return {key: value if key != "versions" else len(value) for key, value in met.items()}
