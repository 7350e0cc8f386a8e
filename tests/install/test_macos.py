"""A laptop with macOS does what laptops do. None is here, so what is Linux' alone is taken from the interpreter."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from provision import native
from provision.cli.main import main
from provision.errors import UsageError
from provision.hosts.sandbox import Sandbox
from provision.images.build import bake
from provision.images.build.image import check_platform
from provision.native import Cache
from provision.native.machine import jobs
from tests.deploy.world import World, web
from tests.install.conftest import ROOT
from tests.testbed import TestHost
from tests.testbed.fixtures import Place

_EVERY_MODULE = """
import importlib, pkgutil, sys, types
sys.modules["psutil"] = types.ModuleType("psutil")  # of which macOS has another build
import provision
# The agent's own modules run on hosts; those that a laptop uses come along with what uses them.
skip = ("provision.agent", "provision.hosts._rsync_helper")
names = [found.name for found in pkgutil.walk_packages(provision.__path__, "provision.")]
names = [name for name in names if not name.startswith(skip) and not name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Whatever Python runs in this test's processes is as on macOS."""
    folder = tmp_path / "macos"
    folder.mkdir()
    (folder / "sitecustomize.py").symlink_to(Path(__file__).with_name("as_on_macos.py"))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_the_interpreter_lacks_what_macos_lacks(laptop: Path) -> None:
    for program in ("import os; os.pidfd_open(1)", "import os; os.sched_getaffinity(0)", "open('/proc/self/stat')"):
        assert python(program).returncode == 1, program


def test_every_module_of_a_laptop_can_be_imported(laptop: Path) -> None:
    done = python(_EVERY_MODULE)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 150


@pytest.mark.root
def test_a_project_is_declared_deployed_looked_at_and_promoted(
    laptop: Path, supervisord_host: TestHost, place: Place, tmp_path: Path
) -> None:
    target = {"name_prefix": f"{place.name}-"}
    world = World(
        tmp_path / "project", supervisord_host, "supervisord", place.path, place.port(), place.name, target=target
    )

    def deploy(*words: str) -> str:
        with world.cli(*words) as process:
            said, _ = process.communicate(timeout=120)
        assert process.returncode == 0, said
        return said

    deploy("init", "--yes", "--name", "mine", "--on", "host.example.net")
    world.declare({"web": web(world.port, "1", check={"http": "/health", "timeout": "15s"})})
    assert "is sound" in deploy("check")
    assert "add server.py" in deploy("plan")
    deploy("up")
    assert world.version == "1"
    world.declare({"web": web(world.port, "2")})
    deploy("up", "--channel", "canary")
    deploy("promote")
    assert world.version == "2"
    assert "running" in deploy("status")
    deploy("logs", "web")
    assert "server.py" in deploy("render", "supervisord")


def as_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")


def test_what_needs_linux_is_refused_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_macos(monkeypatch)
    recipe = bake.find(ROOT, "bitnet-cpu")
    for begin, what in (
        (Sandbox(tmp_path).start, "a sandbox"),
        (lambda: native.build("native", targets=["llama-cli"], root=tmp_path, cache=Cache(tmp_path)), "a native build"),
        (lambda: check_platform(recipe, "linux/amd64"), "building an image with compiled programs"),
    ):
        with pytest.raises(UsageError) as refusal:
            begin()
        assert refusal.value.what == f"{what} needs Linux, and this machine runs macOS."
        assert refusal.value.next_step


def test_the_demo_says_where_it_runs_and_how_to_deploy_from_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    as_macos(monkeypatch)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == (
        "the demo needs Linux, and this machine runs macOS.\n"
        "next: run it on a Linux machine; to deploy from here: deploy init\n"
    )


def test_compilers_are_counted_where_a_process_has_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert jobs() >= 1
