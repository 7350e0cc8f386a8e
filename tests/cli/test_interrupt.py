"""Ctrl-C: once puts everything back, twice lets go and the host finishes alone."""

import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.conftest import Project, of


def _interrupt_while_proving(project: Project, times: int, after: int = 0) -> tuple[int, list[dict]]:
    """Deploy something that never gets healthy, press Ctrl-C when it is being proven; exit code and events.

    Args:
        after: a signal for the program alone, afterwards.
    """
    process = project.start("up", "--json")
    lines = []
    for line in process.stdout:
        lines.append(line)
        event = json.loads(line)
        if event["event"] == "step" and event["step"] == "start":
            break
    time.sleep(0.5)
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everybody in the foreground
        time.sleep(0.05)
    if after:
        process.send_signal(after)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, [json.loads(line) for line in [*lines, *out.splitlines()]]


def _commands() -> Iterator[str]:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield file.read_text(errors="replace").replace("\0", " ")


# How often Ctrl-C is pressed, and what comes then: CI cancels by the second alone, or by both.
@pytest.mark.parametrize(("times", "after"), [(1, 0), (0, signal.SIGTERM), (1, signal.SIGTERM)])
def test_once_puts_everything_back(project, times, after):
    project.ok("up")
    project.write(version="two", status=500, timeout="60s")

    code, events = _interrupt_while_proving(project, times, after)

    assert code == 130
    assert events[-1]["kind"] == "Interrupted"
    assert urllib.request.urlopen(f"http://127.0.0.1:{project.port}/", timeout=5).read() == b"one"
    assert of(project.events("status"), "status")[0]["state"] == "serving"


def test_twice_lets_go_and_the_host_puts_back_alone(project):
    project.ok("up")
    project.write(version="two", status=500, timeout="60s")

    code, events = _interrupt_while_proving(project, 2)

    assert code == 130
    assert events[-1]["kind"] in ("Interrupted", "interrupted")
    deadline = time.monotonic() + 30
    while (state := of(project.events("status"), "status")[0]["state"]) != "serving":
        assert time.monotonic() < deadline, state
        time.sleep(0.2)
    assert urllib.request.urlopen(f"http://127.0.0.1:{project.port}/", timeout=5).read() == b"one"


def test_while_shipping_it_ends_the_upload_and_disturbs_nothing(project):
    project.ok("up")
    (project.root / "big.bin").write_bytes(os.urandom(1 << 20) * 400)
    process = project.start("up", "--json")
    lines = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if lines[-1]["event"] == "phase" and (lines[-1]["phase"], lines[-1]["state"]) == ("ship", "begin"):
            break
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    events = [*lines, *map(json.loads, out.splitlines())]

    assert process.returncode == 130, out + err
    assert "nothing was disturbed." in events[-1]["what"]  # while shipping, where rsync said something in time
    deadline = time.monotonic() + 10
    while left := [line for line in _commands() if "rsync" in line and str(project.root) in line]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    assert "transaction" not in {event.get("phase") for event in events}
    assert of(project.events("status"), "status")[0]["state"] == "serving"
    project.ok("up")  # goes on from there, with nothing to clean up


def test_people_are_told_what_ctrl_c_does(project):
    project.write(status=500, timeout="60s")
    process = project.start("up")
    for line in process.stderr:
        if "starting web" in line:
            break
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "putting back… (Ctrl-C again: let go, the host finishes alone)" in err
    assert process.returncode == 130


def test_a_verb_that_changes_nothing_just_ends(project):
    process = project.start("logs", "web", "--follow")
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode in (130, 1, 2)
    assert "Traceback" not in err
