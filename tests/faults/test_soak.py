"""Hundreds of deploys, and something is killed at any time: the next verb works, and nothing is left behind.

`SOAK_SEED` repeats the choices of a run, and `SOAK_DEPLOYS` says how many there are.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from provision.contract.state import previous
from tests.deploy.world import World, web
from tests.faults.hooks import is_agent, is_worker, living_worker, until
from tests.faults.supervisors import KILLED
from tests.testbed import Kind
from tests.testbed.fixtures import MakeHost, Place
from tests.testbed.processes import Process

pytestmark = [pytest.mark.root, pytest.mark.slow]

_SEED = int(os.environ.get("SOAK_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
_DEPLOYS = int(os.environ.get("SOAK_DEPLOYS", "300"))
_OF_SYSTEMD = 10  # all but the supervisor is the same there: one deploy for so many
_MARK = "SOAK"  # in the environment of what runs on the laptop
_LATEST_SECONDS = 120  # for a verb that nobody will ever end otherwise
_KEEP = 2  # of three versions: a deploy may remove one, which the next has to bring again
_TRANSACTIONS_KEPT = 20
_BOOT_SUPERVISORD = ["supervisord", "-c", "/etc/supervisor/supervisord.conf"]


@dataclass
class Soak:
    """One project that goes to and fro between three versions, and what harms it."""

    world: World
    dice: random.Random = field(default_factory=random.Random)
    versions: dict[str, str] = field(default_factory=dict)  # release -> version
    seconds: float = 0.0  # that a verb takes at most, when it is left alone
    is_settled: bool = True  # nothing has to be put in order first
    said: list[str] = field(default_factory=list)

    # --- acting ----------------------------------------------------------------------------------------------------

    def start(self, *verb: str) -> subprocess.Popen[str]:
        laptop = self.world.folder.parent
        own = {name: str(laptop / name) for name in ("TMPDIR", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")}
        for folder in own.values():
            Path(folder).mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-m", "provision.cli", *verb],
            cwd=self.world.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **own, "NO_COLOR": "1", _MARK: self.world.host.name},
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen[str]) -> None:
        """It ends, and never says that it has a fault of its own."""
        said = process.communicate(timeout=_LATEST_SECONDS)[0]
        self.said.append(f"exit {process.returncode}\n{said}")
        assert "should not" not in said, "a fault of ours"
        before_us = "program.py" not in said  # Ctrl-C while Python itself begins
        assert "Traceback" not in said or before_us, "a fault of ours"

    def do(self, *verb: str) -> None:
        """A verb that nothing harms; it works."""
        began = time.monotonic()
        process = self.start(*verb)
        self.end(process)
        assert process.returncode == 0, f"{verb} does not work"
        self.seconds = max(self.seconds, time.monotonic() - began)

    def declare(self, version: str, **check: Any) -> None:
        fast = {"http": "/health", "timeout": "20s", "interval": "20ms", "passes": 1, **check}
        services = {
            "web": web(self.world.port, version, check=fast),
            "task": web(self.world.port + 1, version, check=fast, switch="in-place", after=["web"]),
        }
        self.world.declare(services)

    def verb(self) -> tuple[str, ...]:
        """One that has something to do now; `up`, where something has to be put in order first."""
        if not self.is_settled:
            return ("up",)
        channels = self.state()["channels"]
        verbs: list[tuple[str, ...]] = [("up",)] * 4 + [("up", "--channel", "canary")] * 2
        if channels:
            verbs += [("down",)]
        if "canary" in channels:
            verbs += [("promote",)] * 3 + [("down", "--channel", "canary")]
        if self._can_go_back(channels):
            verbs += [("rollback",)] * 2
        return self.dice.choice(verbs)

    def _can_go_back(self, channels: dict[str, str]) -> bool:
        entries = [json.loads(path.read_text()) for path in sorted(self.path(".deploy/history").glob("*.json"))]
        back = previous(entries, channels.get("stable"))
        return bool(channels.get("stable") and back and self.path(f"releases/{back}/release.json").exists())

    # --- harming ---------------------------------------------------------------------------------------------------

    @property
    def harms(self) -> dict[str, Callable[[subprocess.Popen[str]], object]]:
        return {
            "program": lambda _: self._kill(lambda each: "server.py" in each.argv),
            "worker": lambda _: self._kill(partial(is_worker, self.world)),
            "conversation": lambda _: self._kill(is_agent),
            "supervisor": lambda _: self._kill_supervisor(),
            "line": lambda _: self._kill(_is_line),
            "laptop": lambda process: process.kill(),
            "Ctrl-C": lambda process: process.send_signal(signal.SIGINT),
            "Ctrl-C twice": lambda process: [process.send_signal(signal.SIGINT) for _ in range(2)],
        }

    def harm(self, name: str, process: subprocess.Popen[str]) -> None:
        """At any time while the verb is running; a worker, at any time while it is there."""
        while name == "worker" and process.poll() is None:
            if living_worker(self.world):
                break
            time.sleep(0.05)
        at = time.monotonic() + self.dice.uniform(0, self.seconds / (2 if name == "worker" else 1))
        while time.monotonic() < at and process.poll() is None:
            time.sleep(0.01)
        self.harms[name](process)

    def _kill(self, wanted: Callable[[Process], bool]) -> None:
        """One of those, where there are any."""
        found = [each for each in self.world.host.processes() if wanted(each)]
        with suppress(ProcessLookupError):  # it has ended meanwhile
            if found:
                os.kill(self.dice.choice(found).outer_pid, signal.SIGKILL)

    def _kill_supervisor(self) -> None:
        host = self.world.host
        host.exec(["sh", "-c", KILLED[self.world.platform]], check=False)
        if self.world.platform == "supervisord":
            time.sleep(self.dice.choice([0.0, self.dice.uniform(0, self.seconds)]))
            host.exec(_BOOT_SUPERVISORD, check=False)  # a verb may have been the first to

    # --- seeing ----------------------------------------------------------------------------------------------------

    def path(self, relative: str) -> Path:
        """Somewhere in the project's folder on the host, seen from outside."""
        return Path(f"/proc/{self.world.host.init}/root{self.world.path}/{relative}")

    def state(self) -> dict[str, Any]:
        return dict(json.loads(self.path(".deploy/state.json").read_text()))

    def wait(self) -> None:
        """Until nothing goes on any more: a host whose laptop is gone ends alone what it has begun."""
        going_on: list[Process] = []

        def is_quiet() -> bool:
            going_on[:] = [each for each in self.world.host.processes() if is_agent(each) or _is_line(each)]
            return not going_on

        until(is_quiet, f"agents and sessions end: {going_on}", 60)
        until(lambda: not self.on_laptop(), "nothing is left on the laptop")

    def on_laptop(self) -> list[str]:
        mark = f"{_MARK}={self.world.host.name}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append((folder / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found

    def judge(self) -> None:
        """The version that the state names answers, unless the host says that there is something to be put in order."""
        self.is_settled = not self.path(".deploy/journal").exists()
        if not self.is_settled:
            return
        channels = self.state()["channels"]
        links = {name: self.path(name) for name in ("stable", "canary") if self.path(name).is_symlink()}
        assert {name: link.readlink().name for name, link in links.items()} == channels
        for name, release in channels.items():
            for service in range(2):
                port = self.world.port + service + (10000 if name == "canary" else 0)
                until(partial(self.world.answers, port), f"{name} answers on {port}")  # one that was killed, again
                assert self.world.get(port=port)["version"] == self.versions[release]

    def inventory(self) -> set[str]:
        """What is on the host and on the laptop, a line each, without what tells one time from another."""
        host, inside = self.world.host, Path(f"/proc/{self.world.host.init}/root")
        found = {_timeless(f"laptop: {path}") for path in self.world.folder.parent.rglob("*")}
        for top in [host.disk / "upper", inside / "run", inside / "tmp", inside / "dev/shm"]:
            for folder, folders, names in os.walk(top):
                if Path(folder).parent.name == "releases":  # what is in one has a digest
                    folders.clear()
                    continue
                found |= {_timeless(f"{top.name}: {folder[len(str(top)) :]}/{name}") for name in [*folders, *names]}
        processes = [each for each in host.processes() if each.ppid or each.pid == 1]
        # A systemd that starts itself anew has other arguments.
        for argv, count in Counter(_timeless(" ".join(each.argv)) for each in processes if each.ppid).items():
            found.add(f"{count} processes: {argv}")
        for each in processes:
            if each.pid == 1 or "supervisord" in " ".join(each.argv):
                has = {name: len([*Path(f"/proc/{each.outer_pid}/{name}").iterdir()]) for name in ("fd", "task")}
                found.add(f"{each.argv[0]} has {has}")
        for line in host.exec(["cat", "/proc/net/tcp", "/proc/net/tcp6", "/proc/net/unix"]).stdout.splitlines():
            words = line.split()
            if words[3] == "0A":
                found.add(f"listens: {words[1]}")
            elif "/" in words[-1]:
                found.add(_timeless(f"socket: {words[-1]}"))
        return found


def _is_line(process: Process) -> bool:
    return bool(process.argv) and process.argv[0].startswith("sshd") and "listener" not in process.argv[0]


def _timeless(text: str) -> str:
    return re.sub(r"(?:recover-)?\b(?=[0-9a-f-]*[0-9])[0-9a-f-]{8,}\b|(?<=\.sock\.)[0-9]+", "#", text)


@pytest.mark.parametrize("platform", ["supervisord", "systemd"])
@pytest.mark.timeout(3600)
def test_hundreds_of_deploys_with_random_kills_leave_nothing_behind(
    platform: str, make_host: MakeHost, place: Place, tmp_path: Path
) -> None:
    """A worker, a supervisor, a line, a laptop or a program is killed at any time, or nobody is."""
    deploys = _DEPLOYS if platform == "supervisord" else max(1, _DEPLOYS // _OF_SYSTEMD)
    target: dict[str, Any] = {"keep": _KEEP}
    host = make_host(Kind(platform))
    world = World(tmp_path / "project", host, platform, place.path, place.port(), place.name, target=target)
    soak = Soak(world)
    story = [f"SOAK_SEED={_SEED} SOAK_DEPLOYS={_DEPLOYS}"]
    try:
        _once_each(soak)
        before = soak.inventory()
        for number in range(deploys):
            soak.dice = random.Random(f"{_SEED} {number}")  # how often it is asked depends on time
            verb, version = soak.verb(), soak.dice.choice("123")
            harm = soak.dice.choice(["nothing", "nothing", "nothing", *soak.harms])
            story.append(f"{number}: {' '.join(verb)} of {version}, {harm}")
            soak.declare(version)
            if harm == "nothing":
                soak.do(*verb)
            else:
                process = soak.start(*verb)
                soak.harm(harm, process)
                soak.end(process)
            soak.wait()
            soak.judge()
            if harm == "nothing":
                assert soak.is_settled, "a journal is left"
        soak.declare("1")
        soak.do("up")
        launches = {
            path.name: sorted(each.name for each in path.iterdir()) for path in soak.path(".deploy/run").iterdir()
        }
        programs = soak.state()["programs"]
        assert launches == {name: sorted(["current", program["launch"]]) for name, program in programs.items()}
        assert len(list(soak.path(".deploy/transactions").iterdir())) <= _TRANSACTIONS_KEPT
        assert len(list(soak.path("releases").iterdir())) <= len(soak.versions)
        soak.do("down")
        soak.wait()
        assert soak.inventory() ^ before == set()
    except BaseException:
        story += soak.said[-3:]
        print("\n".join(story[:1] + story[-12:]))  # noqa: T201
        raise


def _once_each(soak: Soak) -> None:
    """Every verb, left alone, and a deploy that is put back, of which the host keeps a record.

    What a host has after that is what it may have in the end.
    """
    for version in "123":
        soak.declare(version)
        soak.do("up")
        soak.versions[soak.state()["channels"]["stable"]] = version
    soak.do("rollback")
    soak.do("up", "--channel", "canary")
    soak.do("promote")
    soak.declare("1", status=[418], timeout="1s")
    sick = soak.start("up")
    soak.end(sick)
    assert sick.returncode == 1
    soak.do("down")
    soak.wait()
