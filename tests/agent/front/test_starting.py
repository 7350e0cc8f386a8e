"""The script that starts HAProxy, and starts it again when that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from provision.agent.front import starting
from provision.agent.front.configuration import NAME
from provision.agent.front.master import PID
from provision.agent.front.values import DRAIN
from tests.agent.front.stand import PATIENCE, Crowd, Stand, Stream
from tests.faults.hooks import until


def _script(stand: Stand) -> str:
    path = stand.folder / "start"
    path.write_text(starting.script(stand.program, str(stand.folder), "What stands before the programs."))
    path.chmod(0o700)
    return str(path)


def _master(stand: Stand) -> int:
    return int((stand.folder / PID).read_text())


def _wait_for_another_second() -> None:
    now = int(time.time())
    until(lambda: int(time.time()) > now, "the second in which it was started is over", PATIENCE)


@pytest.mark.parametrize("victim", ["worker", "master"])
def test_one_that_dies_serves_again_at_once_as_it_did(stand: Stand, victim: str) -> None:
    stand.start("a", "b")
    a, b = stand.server("a"), stand.server("b")
    stand.runtime.become(stand.front(a, b._replace(state=DRAIN)))
    stand.start_haproxy(_script(stand))
    stand.runtime.become(stand.front(a._replace(state=DRAIN), b))
    assert stand.get().program == "b"
    _wait_for_another_second()

    os.kill(stand.worker() if victim == "worker" else _master(stand), signal.SIGKILL)
    until(lambda: stand.get().status == 200, "it serves again", PATIENCE)

    assert stand.process.poll() is None
    assert {stand.get().program for _ in range(4)} == {"b"}
    assert "is started again" in (stand.folder / "said").read_text()
    stand.runtime.become(stand.front(a, b._replace(state=DRAIN)))
    assert stand.get().program == "a"


@pytest.mark.slow
def test_one_that_dies_twice_in_a_few_seconds_is_for_its_supervisor_to_judge(stand: Stand) -> None:
    stand.start("a")
    stand.runtime.become(stand.front(stand.server("a")))
    stand.start_haproxy(_script(stand))
    for ends in (False, True):
        _wait_for_another_second()
        _wait_for_another_second()
        os.kill(stand.worker(), signal.SIGKILL)
        if not ends:
            until(lambda: stand.get().status == 200, "it serves again", PATIENCE)
            assert stand.process.poll() is None
    assert stand.process.wait(PATIENCE) == 128 + signal.SIGKILL


@pytest.mark.slow
def test_one_whose_script_was_killed_leaves_the_ports_to_the_next_and_ends_with_its_last_stream(stand: Stand) -> None:
    stand.start("a")
    stand.runtime.become(stand.front(stand.server("a")))
    stand.start_haproxy(_script(stand))
    before = _master(stand)
    stream = Stream(stand)
    with Crowd(stand) as crowd:
        stand.process.kill()
        stand.process.wait()
        crowd.more()
        stand.start_haproxy(_script(stand))
        until(lambda: _master(stand) != before, "the next one serves", PATIENCE)
        crowd.more()

    assert not crowd.failed
    assert stream.is_all_of("a")
    until(lambda: not Path(f"/proc/{before}").exists(), "the old one ends", PATIENCE)


def test_it_ends_when_it_is_told_to_and_leaves_nobody(stand: Stand) -> None:
    stand.start("a")
    stand.runtime.become(stand.front(stand.server("a")))
    stand.start_haproxy(_script(stand))
    master, worker = _master(stand), stand.worker()
    stand.process.send_signal(signal.SIGUSR2)  # which has it read its file anew
    until(lambda: not Path(f"/proc/{worker}").exists(), "another worker serves", PATIENCE)
    assert stand.get().status == 200

    stand.end()

    assert not Path(f"/proc/{master}").exists()
    assert stand.get().status == 0


def test_one_that_does_not_start_is_for_its_supervisor_to_judge(stand: Stand) -> None:
    (stand.folder / NAME).write_text("nonsense\n")
    ended = subprocess.run([_script(stand)], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 1
    assert "nonsense" in ended.stderr
