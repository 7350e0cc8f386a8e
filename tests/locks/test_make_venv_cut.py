"""scripts/make-venv, cut off or started twice: the next run makes it whole, and says so."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.locks.conftest import (
    EXTENDED,
    LOCKED,
    Checkout,
    lock_more,
)
from tests.locks.index import Index, wheel


def cut(checkout: Checkout, index: Index, how: signal.Signals) -> str:
    """Run `make-venv`, and end all of it while a package is being downloaded; what it said then."""
    index.began.clear()
    with subprocess.Popen(
        ["scripts/make-venv", "run"],
        cwd=checkout.folder,
        env=checkout.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        assert index.began.wait(120)
        os.killpg(running.pid, how)
        _, errors = running.communicate(timeout=60)
    assert running.returncode != 0
    index.stalled = ""
    return errors


def test_ctrl_c_says_that_the_next_run_makes_it_whole(small: Checkout, index: Index) -> None:
    small.pip_settings(index_url=index.url)
    index.stalled = EXTENDED.file

    said = cut(small, index, signal.SIGINT)

    assert said == "\nCut short. The next run makes it whole: scripts/make-venv run\n"


@pytest.mark.slow
def test_an_installation_that_was_killed_is_made_whole_by_the_next_run(made: tuple[Checkout, Index]) -> None:
    large = wheel("large", "1.0")
    checkout, index = lock_more(made, large), made[1]
    index.stalled = large.file
    cut(checkout, index, signal.SIGKILL)
    # As a kill in the midst of writing leaves a package: there by its name, and not whole.
    [site] = checkout.venv.glob("lib/python*/site-packages")
    (site / "extended.py").unlink()

    done = checkout.make_venv("run")

    assert done.returncode == 0, done.stderr
    assert checkout.installed() == {"large==1.0"} | LOCKED | checkout.locked("build", "uv")
    subprocess.run([checkout.venv / "bin" / "python", "-c", "import asking, extended, large, bitnet"], check=True)


@pytest.mark.parametrize(
    "hidden", [(), pytest.param(("flock",), marks=pytest.mark.slow)], ids=["with flock", "without flock"]
)
def test_a_second_run_waits_for_the_first_and_finds_it_done(
    hidden: tuple[str, ...], made: tuple[Checkout, Index]
) -> None:
    slow = wheel(f"slow{len(hidden)}", "1.0")
    checkout, index = lock_more(made, slow), made[1]
    index.stalled = slow.file
    index.began.clear()
    path = checkout.home / f"path{len(hidden)}"
    path.mkdir()
    for program in Path("/usr/bin").iterdir():
        if program.name not in hidden:
            (path / program.name).symlink_to(program)
    run = {"cwd": checkout.folder, "env": checkout.environment | {"PATH": str(path)}, "text": True}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(["scripts/make-venv", "run"], **run, **pipes) as first:  # type: ignore[call-overload]
        assert index.began.wait(120)
        with subprocess.Popen(["scripts/make-venv", "run"], **run, **pipes) as second:  # type: ignore[call-overload]
            said = second.stderr.readline()
            index.stalled = ""
            index.resumed.set()
            _, first_errors = first.communicate(timeout=120)
            output, _ = second.communicate(timeout=120)
    index.resumed.clear()

    assert (
        said == f"waiting for process {first.pid}, which fills an environment of this checkout (at most half an hour)\n"
    )
    assert (first.returncode, first_errors) == (0, "")
    assert (second.returncode, output) == (0, "")


def test_ctrl_c_while_the_empty_environment_is_made_says_the_same(small: Checkout) -> None:
    slow = small.home / "python"
    slow.write_text(
        f'#!/bin/sh\ncase $* in -V) echo Python 3.11 ;; "-m venv"*) echo Traceback; : >"{small.home}/began"; '
        "exec sleep 60 ;; esac\n"
    )
    slow.chmod(0o755)
    with subprocess.Popen(
        ["scripts/make-venv", "run"],
        cwd=small.folder,
        env=small.environment | {"PYTHON": str(slow)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        assert until((small.home / "began").exists)
        os.killpg(running.pid, signal.SIGINT)
        output, errors = running.communicate(timeout=60)

    assert running.returncode == 130
    assert output.splitlines()[-1] == "an empty environment of Python 3.11 comes first, which takes seconds"
    assert errors == "\nCut short. The next run makes it whole: scripts/make-venv run\n"


def until(happened: Callable[[], bool]) -> bool:
    for _ in range(600):
        if happened():
            return True
        time.sleep(0.05)
    return False
