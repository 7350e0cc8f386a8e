"""Logs of all services and hosts at once: whose each line is, since when, and of what failed."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from provision import rollout
from provision.errors import PutBack, SomeHostsFailed, UsageError
from provision.rollout.logs import LogLine, _Came
from tests.deploy.world import World, web
from tests.testbed import Kind, TestHost
from tests.testbed.fixtures import MakeHost, Place

pytestmark = pytest.mark.root


def says(world: World, words: str, version: str = "1", **more: object) -> dict[str, object]:
    """A web service that says something first."""
    return web(world.port, version, command=["sh", "-c", f"{words}; exec python3 server.py $0", "${port}"], **more)


def ticks(word: str) -> dict[str, object]:
    """A service that writes on and on."""
    return {"command": ["sh", "-c", f"while :; do echo {word}; sleep 0.2; done"]}


def told(world: World, *services: str, **more: object) -> list[tuple[str, str]]:
    found = rollout.logs(world.deployment(), services, **more)  # type: ignore[arg-type]
    return [(each.service, each.line) for each in found if "systemd" not in each.line and "place" not in each.line]


def test_services_are_told_by_name_and_since_when_and_followed_over_a_restart(world: World) -> None:
    dated = "echo 2020-01-02T03:04:05 of old; echo 2020-01-02T03:04:06Z too; date -u +%Y-%m-%dT%H:%M:%SZ' of now'"
    world.declare(
        {
            "web": says(world, f"echo started as $$$$; {dated}"),
            "worker": {"command": ["sh", "-c", "echo untold; exec sleep 1000"]},
        }
    )
    world.up()

    every = told(world)
    assert ("web", "2020-01-02T03:04:06Z too") in every
    assert ("worker", "untold") in every
    assert told(world, "worker") == told(world, world.program("worker")) == [("worker", "untold")]
    with pytest.raises(UsageError, match=r'no service "wbe"\. Did you mean "web"\?'):
        told(world, "wbe")

    found = told(world, ago=3600.0)
    assert [line[20:] for _, line in found if line.endswith("of now")] == [" of now"]
    assert ("worker", "untold") in found
    warned = [event["text"] for event in world.events if event["event"] == "warning"]
    if world.platform == "supervisord":
        assert not [line for _, line in found if line.endswith(("of old", "too"))]
        assert warned == ["the lines of worker tell no time, so older ones are among them"]
    else:  # the journal knows when each line came
        assert not warned
        time.sleep(1.1)
        assert told(world, ago=0.5) == []

    following = rollout.logs(world.deployment(), follow=True, lines=20)
    first = next(line.line for line in following if line.line.startswith("started as"))
    rollout.on_purpose(world.deployment(), "restart", ["web"])
    second = next(line.line for line in following if line.line.startswith("started as"))
    following.close()
    assert first != second


def test_what_a_failed_candidate_wrote_is_told(world: World) -> None:
    world.declare({"web": says(world, "echo the old one")})
    world.up()
    world.declare({"web": says(world, "echo the new one; exit 3", "2")})
    with pytest.raises(PutBack):
        world.up()

    assert ("web", "the new one") in told(world, channel="candidate")
    assert ("web", "the new one") not in told(world)


@pytest.mark.slow
def test_all_services_of_all_hosts_are_followed_at_once(
    systemd_host: TestHost, make_host: MakeHost, place: Place, tmp_path: Path
) -> None:
    other = make_host(Kind.SYSTEMD)
    world = World(tmp_path / "project", systemd_host, "systemd", place.path, place.port(), place.name)
    world.target = {"hosts": [f"root@{host.address}" for host in (systemd_host, other)]}
    with (world.folder / "known_hosts").open("a") as pins:
        pins.write(f"{other.address} {other.host_key}\n")
    world.declare({"one": ticks("first"), "two": ticks("second")})
    rollout.up(world.deployment())
    wanted = {(host.address, name) for host in (systemd_host, other) for name in ("one", "two")}

    following = rollout.logs(world.deployment(), follow=True, lines=1)
    seen: set[tuple[str, str]] = set()
    while seen < wanted:
        line = next(following)
        seen.add((line.host, line.service))
    following.close()
    systemd_host.exec(["sh", "-c", "while pgrep -x journalctl; do sleep 0.1; done"])  # nothing is left behind

    with world.cli("logs", "--lines", "1") as shown:
        said, _ = shown.communicate(timeout=60)
    lines = said.splitlines()
    width = max(len(host.address) for host in (systemd_host, other))
    assert f"{other.address:{width}} two | second" in lines

    other.cut()
    try:
        with pytest.raises(SomeHostsFailed, match=other.address):
            list(rollout.logs(world.deployment(), lines=1))
    finally:
        other.mend()


def test_a_host_that_writes_faster_than_anybody_reads_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[_Came.__module__], "_WAITING", 3)  # `rollout.logs` is a function
    came = _Came()

    def write() -> None:
        for number in range(10):
            came.put(LogLine("a", "web", str(number)))

    writing = threading.Thread(target=write, daemon=True)
    writing.start()
    assert [came.get().line for _ in range(2)] == ["0", "1"]  # type: ignore[union-attr]
    writing.join(0.3)
    assert writing.is_alive()
    assert came._queue.qsize() == 3
    came.nobody_listens = True
    writing.join(5)
    assert not writing.is_alive()
