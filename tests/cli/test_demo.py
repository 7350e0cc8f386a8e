"""`deploy demo`, whole: compile or take from the cache, deploy, ask, promote, and a broken release put back."""

import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import pytest

from tests.cli.conftest import DEPLOY, of

# The first one on a machine compiles llama.cpp; the cache makes the others fast.
pytestmark = [pytest.mark.native, pytest.mark.timeout(2400)]


@pytest.fixture
def demo(tmp_path_factory):
    """Runs `deploy demo …` with a state folder of its own."""
    state = tempfile.mkdtemp(prefix="demo-")

    def run(*words):
        return subprocess.run(
            [*DEPLOY, "demo", *words],
            env={**os.environ, "XDG_STATE_HOME": state},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    yield run
    assert run("--stop").returncode == 0
    shutil.rmtree(state)


def test_the_demo_tells_the_whole_story_and_leaves_nothing_behind(demo):
    done = demo("--json")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]

    assert [event["number"] for event in of(events, "chapter")] == list(range(1, 9))
    (completion,) = of(events, "completion")
    assert len(completion["completion"].split()) > 3
    results = [(event["kind"], event["channel"], event["outcome"]) for event in of(events, "result")[:-1]]
    assert results == [
        ("up", "stable", "committed"),
        ("up", "canary", "committed"),
        ("promote", "stable", "committed"),
    ]
    last = events[-1]
    assert last["outcome"] == "done"
    assert "HTTP 500" in last["refused"]
    users = last["users"]
    assert users["requests"] > 100
    assert users["streams"] > 3
    assert users["failed"] == 0
    assert users["longest_wait_seconds"] < 5
    assert last["state"] == "serving"
    assert "no demo is up" in demo("--stop").stdout


def test_a_kept_demo_answers_until_it_is_stopped(demo):
    done = demo("--keep")
    assert done.returncode == 0, done.stdout + done.stderr
    url = done.stdout.split("It is still up: ")[1].split(" ")[0]
    assert urllib.request.urlopen(url, timeout=5).read() == b"two"
    assert "random weights: a real completion, but not sense" in done.stdout

    assert "the demo ended" in demo("--stop").stdout

    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=5)


def test_a_home_of_any_name_is_good_enough_for_the_demo():
    state, elsewhere = tempfile.mkdtemp(prefix="John Doe, größer-"), tempfile.mkdtemp(prefix="demo-")

    def demo(*words):
        return subprocess.run(
            [*DEPLOY, "demo", *words],
            env={**os.environ, "XDG_STATE_HOME": state, "TMPDIR": elsewhere},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def left():
        return [path for path in Path(elsewhere).iterdir() if path.name.startswith("deploy-demo-")]

    try:
        done = demo("--keep")
        assert done.returncode == 0, done.stdout + done.stderr
        (folder,) = left()
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        ended = demo("--stop")
        shutil.rmtree(state)
    assert "the demo ended" in ended.stdout, ended.stderr
    assert not left()
    shutil.rmtree(elsewhere)


@pytest.fixture
def home(tmp_path):
    """Runs `deploy …` in a home that nobody has used yet, with these variables besides."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}

    def run(*words, **variables):
        return subprocess.run(
            [*DEPLOY, *words],
            env={**ours, "HOME": str(tmp_path), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_a_home_that_cannot_be_written_is_refused_with_the_folder_and_a_way_out(home, tmp_path):
    (tmp_path / ".local").write_text("a file, where a folder belongs")

    done = home("demo")

    assert done.returncode == 4
    assert done.stderr == (
        f"nothing can be written to the folder {tmp_path}/.local/state/bitnet-provision.\n"
        f"{tmp_path}/.local: Not a directory.\n"
        "next: XDG_STATE_HOME=/some/folder deploy demo\n"
    )


def test_a_cache_that_cannot_be_written_is_refused_with_the_folder_and_a_way_out(home, tmp_path):
    (tmp_path / ".cache").write_text("a file, where a folder belongs")

    done = home("demo")

    assert done.returncode == 4
    assert f"nothing can be written to the folder {tmp_path}/.cache/bitnet-provision." in done.stderr
    assert "next: XDG_CACHE_HOME=/some/folder deploy …" in done.stderr


@pytest.mark.parametrize(("engine", "needed"), [("wheel", ["rsync", "libgomp.so.1"]), ("build", ["rsync"])])
def test_what_the_demo_lacks_is_named_at_once_before_anything_is_done(home, tmp_path, engine, needed):
    """A bare machine: no program on PATH, and no library besides those that Python itself was linked with."""
    bare = tmp_path / "no-libgomp"
    bare.mkdir()
    (bare / "libgomp.so.1").write_text("no library")

    done = home("demo", "--engine", engine, PATH=str(bare), LD_LIBRARY_PATH=str(bare))

    assert done.returncode == 4
    assert done.stderr.startswith("the demo needs rsync (ships the project)")
    assert [name in done.stderr.splitlines()[0] for name in needed] == [True] * len(needed)
    assert done.stderr.splitlines()[-1] == f"next: install {' and '.join(needed)} where PATH finds " + (
        "it" if len(needed) == 1 else "them"
    )
    assert not (tmp_path / ".local" / "state" / "bitnet-provision" / "demo").exists()
