"""How long requests fail when HAProxy is killed.

    python -m benchmarks.killed [--kills 8] [--platforms supervisord,systemd,docker]

A service behind a target's HAProxy is asked a hundred times a second, each time over a connection of its own. Then
`kill -9` of HAProxy's worker, of its master, or of all of it at once, with what started it. `supervisor alone` is the
same HAProxy started by nothing but the platform. Needs root: the hosts are network namespaces with a supervisor of
their own.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.deploy.docker_host import engine_on_a_host
from tests.deploy.killing import VICTIMS, Met, killed
from tests.deploy.world import World
from tests.faults.hooks import until
from tests.testbed import Kind, TestHost, take_slot

PLATFORMS = ("supervisord", "systemd", "docker")
_PORT = 8000


@contextmanager
def served(platform: str, folder: Path) -> Iterator[World]:
    """A service behind HAProxy on a host of its own."""
    with ExitStack() as stack:
        slot = take_slot()
        stack.callback(slot.release)
        project = {}
        if platform == "docker":
            engine = stack.enter_context(engine_on_a_host(slot, folder / "registry"))
            host, project = engine.host, {"image": engine.publish()}
        else:
            host = TestHost(Kind(platform), slot)
            stack.callback(host.destroy)
        world = World(folder / "project", host, platform, "/workspace/shop", _PORT, "shop", target={"traffic": {}})
        world.project = project
        world.web()
        world.up()
        yield world


def leave_it_to_its_supervisor(world: World) -> None:
    """Start HAProxy by nothing else from now on."""
    start = f"{world.path}/.deploy/traffic/start"
    found = re.search(r"^set -- (.*)$", world.host.read(start).decode(), re.MULTILINE)
    assert found
    world.host.write(f"{start}.new", f"#!/bin/sh\nexec {found[1]}\n", mode=0o700)
    world.host.exec(["mv", f"{start}.new", start])
    killed(world, "all of it")
    until(world.answers, "it serves again", 60)


def row(platform: str, way: str, victim: str, met: list[Met]) -> str:
    """What they met, in a line."""
    seconds, failed = sorted(each.seconds for each in met), sorted(each.failed for each in met)
    why = sorted({why for each in met for why in each.why})
    times = f"{statistics.median(seconds) * 1000:.0f} ms | {seconds[0] * 1000:.0f} to {seconds[-1] * 1000:.0f} ms"
    return f"| {platform} | {way} | {victim} | {times} | {statistics.median(failed):g} | {', '.join(why)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--platforms", default=",".join(PLATFORMS))
    asked = parser.parse_args()
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}; {asked.kills} kills each\n")
    print("| | | killed | requests fail for | least to most | how many, of 100 a second | what they meet |")
    print("|---|---|---|---|---|---|---|")
    for platform in asked.platforms.split(","):
        with tempfile.TemporaryDirectory(prefix="killed-") as folder, served(platform, Path(folder)) as world:
            for way in ("ours", "supervisor alone"):
                for victim in VICTIMS:
                    met = [killed(world, victim) for _ in range(asked.kills)]
                    print(row(platform, way, victim, met), flush=True)
                if way == "ours":
                    leave_it_to_its_supervisor(world)


if __name__ == "__main__":
    main()
