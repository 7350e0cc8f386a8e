"""A checkout of the test's own, an index, and `make-venv` run there as on a machine that has installed nothing yet."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

from tests.locks.index import Index, Release, normal, serving, wheel
from tests.testbed.rootfs import cache

REPOSITORY = Path(__file__).parents[2]
_ENTRY = re.compile(r"^([a-z0-9._-]+==[^\s\\]+(?: ; [^\\\n]+)?)", re.MULTILINE)
# pip asks the index for the newest release of `extended` when it resolves: the lock pins it without its extra.
ASKING = wheel("asking", "1.0", metadata="Requires-Dist: extended[more]>=1\n")
EXTENDED = wheel("extended", "1.0", metadata="Provides-Extra: more\n")
LOCKED = {"asking==1.0", "extended==1.0"}  # of `small`, for the group run
SMALL = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "bitnet-provision"
version = "0.1"
requires-python = ">=3.11"
dependencies = ["asking"]

[tool.hatch.build.targets.wheel]
packages = ["bitnet"]
"""


@dataclass
class Checkout:
    """One, with a home folder beside it in which pip's settings are."""

    folder: Path
    home: Path

    @property
    def venv(self) -> Path:
        return self.folder / ".venv"

    def pip_settings(self, **options: str) -> None:
        file = self.home / ".config" / "pip" / "pip.conf"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{option.replace('_', '-')} = {value}" for option, value in options.items()]
        file.write_text("\n".join(["[global]", *lines, ""]))

    @property
    def environment(self) -> dict[str, str]:
        """Empty caches, the Python that runs the tests, and no setting of this machine's user."""
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], "PYTHON": base_python(), "TMPDIR": str(self.home)}

    def make_venv(self, *groups: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["scripts/make-venv", *groups],
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def installed(self) -> set[str]:
        """NAME==VERSION of all that is there, but for the project itself and what an environment begins with."""
        program = "from importlib.metadata import distributions as d; [print(f'{x.name}=={x.version}') for x in d()]"
        command = [self.venv / "bin" / "python", "-I", "-c", program]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        found = {f"{normal(name)}=={version}" for name, _, version in (line.partition("==") for line in lines)}
        begun_with = {"pip", "setuptools", "bitnet-provision"} - {pin.partition("==")[0] for pin in self.locked("run")}
        return {pin for pin in found if pin.partition("==")[0] not in begun_with}

    def locked(self, *names: str) -> set[str]:
        """NAME==VERSION of all that these files pin for this Python."""
        return set().union(*(pinned(self.folder / "locks" / f"{name}.txt") for name in names))


def base_python() -> str:
    return str(getattr(sys, "_base_executable", sys.executable))


def pinned(file: Path) -> set[str]:
    entries = [Requirement(line.strip()) for line in _ENTRY.findall(file.read_text())]
    return {f"{entry.name}{entry.specifier}" for entry in entries if entry.marker is None or entry.marker.evaluate()}


@pytest.fixture(scope="session")
def locked_files() -> list[Release]:
    """The files that the locks pin for `run`: from the index of this machine once, then from the test bed's cache."""
    locks = [REPOSITORY / "locks" / f"{name}.txt" for name in ("run", "build", "uv")]
    recipe = sys.version.encode() + b"".join(lock.read_bytes() for lock in locks)
    place = cache() / f"locked-{hashlib.sha256(recipe).hexdigest()[:16]}"
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as unfinished:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
            command += [
                "--only-binary=:all:",
                f"--dest={unfinished}/files",
                *(f"--requirement={lock}" for lock in locks),
            ]
            subprocess.run(command, check=True)
            Path(unfinished, "files").rename(place)
    return [Release(file.name, file.read_bytes()) for file in sorted(place.iterdir())]


def holding(locked: list[Release]) -> Index:
    """What the locks pin and the two packages of `small`, and nothing else."""
    index = Index()
    index.add(*(Release(found.file, found.content) for found in [*locked, ASKING, EXTENDED]))
    return index


@pytest.fixture
def index(locked_files: list[Release]) -> Iterator[Index]:
    with serving(holding(locked_files)) as index:
        yield index


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """This one, as it is."""
    checkout = Checkout(tmp_path / "check out", tmp_path / "home")
    checkout.home.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", "models", ".deploy")
    for part in ("provision", "bitnet", "templates", "native", "locks", "scripts", "images", "examples"):
        shutil.copytree(REPOSITORY / part, checkout.folder / part, ignore=ignore)
    for part in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / part, checkout.folder)
    return checkout


@pytest.fixture
def small(tmp_path: Path) -> Checkout:
    return small_checkout(tmp_path)


def small_checkout(folder: Path) -> Checkout:
    """One with the same scripts, whose project needs two packages."""
    checkout = Checkout(folder / "small", folder / "home")
    checkout.home.mkdir()
    for part in ("locks", "scripts"):
        shutil.copytree(REPOSITORY / part, checkout.folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    (checkout.folder / "pyproject.toml").write_text(SMALL)
    (checkout.folder / "bitnet").mkdir()
    (checkout.folder / "bitnet" / "__init__.py").touch()
    (checkout.folder / "locks" / "run.txt").write_text(entry(ASKING) + entry(EXTENDED))
    return checkout


def entry(release: Release) -> str:
    """A line of a lock."""
    name, version, _ = release.file.split("-", 2)
    return f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(release.content).hexdigest()}\n"


@pytest.fixture(scope="session")
def fill_venv() -> ModuleType:
    """scripts/fill_venv.py, which is no module of a package."""
    found = importlib.util.spec_from_file_location("fill_venv", REPOSITORY / "scripts" / "fill_venv.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="package")
def place(locked_files: list[Release], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Checkout, Index]]:
    index = holding(locked_files)
    with serving(index):
        yield small_checkout(tmp_path_factory.mktemp("made")), index


@pytest.fixture
def made(place: tuple[Checkout, Index]) -> tuple[Checkout, Index]:
    """An environment that is there, and current. Making one takes seconds, so it is one for many tests."""
    checkout, index = place
    checkout.pip_settings(index_url=index.url)
    (checkout.folder / "locks" / "run.txt").write_text(entry(ASKING) + entry(EXTENDED))
    (checkout.folder / "locks" / "lint.txt").write_text("")
    assert checkout.make_venv("run").returncode == 0
    return checkout, index


def lock_more(made: tuple[Checkout, Index], release: Release) -> Checkout:
    """Lock one more, which the index has."""
    checkout, index = made
    index.add(release)
    with (checkout.folder / "locks" / "run.txt").open("a") as lock:
        lock.write(entry(release))
    return checkout
