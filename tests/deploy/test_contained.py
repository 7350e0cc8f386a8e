"""Hole 6: a command of the project's is over when it is over: nothing of it lives on, and no pipe holds anybody up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from provision.agent import checks, commands
from provision.agent.checks.check import Failed
from provision.agent.checks.here import Here
from tests.faults.hooks import until

# Each leaves a process that writes its pid to the file $1 and keeps the output open.
_STAYS = 'import os,sys,time; open(sys.argv[1], "w").write(str(os.getpid())); time.sleep(1000)'
WAYS = {
    "a child": f"{sys.executable} -c '{_STAYS}' $1 &",
    "a session of its own": f"setsid {sys.executable} -c '{_STAYS}' $1 &",
    "a double fork": f"(setsid setsid {sys.executable} -c '{_STAYS}' $1 &) &",
    "a child that ignores signals": f"(trap '' TERM HUP INT; {sys.executable} -c '{_STAYS}' $1) &",
}
_WAIT = 'until [ -s "$1" ]; do sleep 0.01; done;'


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("way", "then", "status"),
    [
        *(pytest.param(way, "exit 3", 3, marks=[pytest.mark.slow] if way == "a child" else []) for way in WAYS),
        ("a double fork", "sleep 1000", -signal.SIGKILL),
    ],
)
def test_nothing_that_a_command_leaves_behind_outlives_it(way: str, then: str, status: int, tmp_path: Path) -> None:
    script = f"{WAYS[way]} {_WAIT} echo said; {then}"

    ended = commands.run(["sh", "-c", script, "sh", str(tmp_path / "pid")], 2.0, cwd="/")

    # A shell whose `sleep` is killed first may say so before it is killed itself.
    assert ended.status in (status, 128 + signal.SIGKILL if status < 0 else status)
    assert ended.output in (b"said\n", b"said\nKilled\n" if status < 0 else b"")
    assert (ended.late, ended.left) == (status < 0, 0)
    assert ended.ended >= 1
    assert not is_there(int((tmp_path / "pid").read_text()))


def test_who_dies_takes_its_command_along(tmp_path: Path) -> None:
    script = f"{WAYS['a double fork']} sleep 1000"
    source = "import sys; from provision.agent import commands; commands.run(sys.argv[1:], 1000, cwd='/')"
    with subprocess.Popen([sys.executable, "-c", source, "sh", "-c", script, "sh", str(tmp_path / "pid")]) as agent:
        until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "", "it runs")
        pid = int((tmp_path / "pid").read_text())
        agent.kill()

    until(lambda: not is_there(pid), "its command ends")


def test_who_kills_what_watches_a_command_ends_the_command(tmp_path: Path) -> None:
    script = f"{WAYS['a child']} {_WAIT} kill -9 $PPID; sleep 1000"

    ended = commands.run(["sh", "-c", script, "sh", str(tmp_path / "pid")], 1000, cwd="/")

    assert ended.status == -signal.SIGKILL
    until(lambda: not is_there(int((tmp_path / "pid").read_text())), "its child ends")


def test_who_asks_to_stop_is_heard_while_a_command_is_silent(tmp_path: Path) -> None:
    began = time.monotonic()

    def stop() -> None:
        if time.monotonic() > began + 0.2 and (tmp_path / "pid").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        commands.run(
            ["sh", "-c", f"{WAYS['a double fork']} sleep 1000", "sh", str(tmp_path / "pid")], 900, cwd="/", stop=stop
        )

    until(lambda: not is_there(int((tmp_path / "pid").read_text())), "it ends")


def test_a_command_finds_what_it_was_given(tmp_path: Path) -> None:
    script = 'echo "$A|$PWD|$1"; trap; kill -PIPE $$'

    ended = commands.run(
        ["sh", "-c", script, "sh", "x y"], 20, cwd=str(tmp_path), env={"A": "ü 1\n", "PATH": os.defpath}
    )

    assert ended.output.decode() == f"ü 1\n|{tmp_path}|x y\n"
    assert ended.status == -signal.SIGPIPE, "Python ignores it, and a command does not inherit that"
    with pytest.raises(FileNotFoundError):
        commands.run(["no-such-program"], 20, cwd="/")


def test_endless_output_is_read_and_not_kept() -> None:
    ended = commands.run(["head", "-c", "50000000", "/dev/zero"], 60, cwd="/")

    assert ended.status == 0
    assert 0 < len(ended.output) < 100_000


def test_a_tool_whose_child_keeps_its_output_open_holds_up_nobody() -> None:
    ended = commands.ask(["sh", "-c", "sleep 20 & echo $!; exit 4"], 10)

    assert ended.status == 4
    os.kill(int(ended.output), signal.SIGKILL)
    with pytest.raises(subprocess.TimeoutExpired):
        commands.ask(["sh", "-c", "sleep 1000 & sleep 1000"], 0.3)


def test_a_command_check_whose_child_keeps_its_output_open_has_its_own_time_alone() -> None:
    check = {"argv": ["sh", "-c", "sleep 1000 & sleep 1000"], "env": {}}

    with pytest.raises(Failed, match="did not end in 1 s"):
        checks.PROBES["command"](check, Here(), 1.0)
