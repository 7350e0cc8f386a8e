"""People install the wheel with `uv tool` or `pipx`, and need no checkout: not to begin, not to look, not to deploy."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision import __version__
from provision.page import assets
from tests.cli.ports import free_ports
from tests.install.conftest import ROOT, Home, install

IMAGE = 'image = "ghcr.io/acme/small@sha256:' + "0123456789abcdef" * 4 + '"'
APP = "from fastapi import FastAPI\n\napp = FastAPI()\n"
BY_PIPX = [pytest.param(f"pipx-by-{backend}", marks=pytest.mark.slow) for backend in ("uv", "pip")]
# Where a checkout keeps what a wheel has inside its packages.
MOVED = {"templates/": "provision/templates/", "native/": "provision/native/data/"}


@pytest.fixture
def empty_home() -> Iterator[Home]:
    yield from new_home()


@pytest.fixture(scope="module", params=["uv", *BY_PIPX])
def home(request: pytest.FixtureRequest, wheel: Path, constraints: Path) -> Iterator[Home]:
    """A home in which nothing is but what the tool installed."""
    for home in new_home():
        install(request.param, home, f"bitnet-provision[deploy] @ {wheel.as_uri()}", constraints)
        yield home


@pytest.fixture(scope="module")
def project(home: Home) -> Path:
    """A project that `deploy init` has declared."""
    folder = home.folder / "app"
    folder.mkdir()
    (folder / "main.py").write_text(APP)
    home.ok("deploy", "init", "--yes", "--name", "mine", "--on", "sandbox", folder=folder)
    return folder


def new_home() -> Iterator[Home]:
    folder = Path(tempfile.mkdtemp(prefix="home-"))
    yield Home(folder)
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)  # releases are read-only
    shutil.rmtree(folder)


# --- what is in it ----------------------------------------------------------------------------------------------------


def test_the_wheel_holds_every_file_of_the_packages_and_no_test(wheel: Path) -> None:
    folders = ["provision", "bitnet", "templates", "native"]
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    wanted = {"provision/packages.txt"}
    if shutil.which("npm"):  # a wheel that is built without it has no uPlot
        wanted |= {f"provision/page/static/{name}" for name in assets.pinned()["files"]}
    for name in tracked:
        folder = next((folder for folder in MOVED if name.startswith(folder)), "")
        wanted.add(MOVED[folder] + name.removeprefix(folder) if folder else name)

    with zipfile.ZipFile(wheel) as content:
        names = {name for name in content.namelist() if ".dist-info/" not in name}

    assert names == wanted


# --- what it does -----------------------------------------------------------------------------------------------------


def test_both_programs_tell_the_version_that_the_wheel_has(home: Home, wheel: Path) -> None:
    assert wheel.name.split("-")[1] == __version__
    assert home.ok("deploy", "--version") == f"deploy, version {__version__}\n"
    assert home.ok("bitnet", "--version") == f"bitnet, version {__version__}\n"


def test_a_project_is_begun_and_judged(home: Home, project: Path) -> None:
    assert home.ok("deploy", "check", folder=project) == "mine is sound. Services: fastapi. Targets: host.\n"
    assert home.ok("deploy", "schema") == (ROOT / "schema/deploy.schema.json").read_text()


@pytest.mark.parametrize(
    ("platform", "file"),
    [("systemd", "mine-fastapi.service"), ("kubernetes", "stable/fastapi.yaml")],
)
def test_what_platforms_read_is_rendered(home: Home, project: Path, tmp_path: Path, platform: str, file: str) -> None:
    declared = (project / "deploy.toml").read_text()
    units = declared.partition("[targets.host]")[2].replace('"supervisord"', '"systemd"')
    units = units.replace("/mine", "/units").replace("[targets.host.", "[targets.units.")
    declared = declared.replace('name = "mine"', f'name = "mine"\n{IMAGE}').replace("127.0.0.1", "${listen}")
    (tmp_path / "deploy.toml").write_text(f"{declared}\n[targets.units]{units}")
    shutil.copy(project / "main.py", tmp_path)
    said = home.ok("deploy", "render", platform, "--json", folder=tmp_path).splitlines()
    assert file in [json.loads(line).get("path") for line in said]


@pytest.mark.parametrize("home", ["uv", *BY_PIPX], indirect=True)
def test_a_fabfile_has_the_rooms_and_its_own_tasks_have_connections(home: Home) -> None:
    folder = home.folder / "minimal"
    shutil.copytree(ROOT / "examples/minimal", folder, ignore=shutil.ignore_patterns(".deploy", "__pycache__"))
    (port,) = free_ports(1)
    for name in ("deploy.toml", "fabfile.py"):
        (folder / name).write_text((folder / name).read_text().replace("8000", str(port)))
    fab = home.program("deploy").resolve().with_name("fab")
    assert home.ok(fab, "up", "greet", "down", folder=folder) == "Hello\n"


def test_what_is_missing_is_named_with_this_machine_s_own_command(home: Home, tmp_path: Path) -> None:
    (tmp_path / "dnf").symlink_to("/bin/true")
    bare = Home(home.folder, path=(str(tmp_path),))
    done = bare.run(home.program("deploy"), "native", "build")
    assert done.returncode == 2
    assert done.stderr == (
        "a native build needs cmake and ninja and cc and c++, not found on PATH\n"
        "next: dnf install --assumeyes cmake ninja-build gcc gcc-c++\n"
    )


def test_pinned_sources_can_be_had_though_the_tools_put_no_pip_beside_us(home: Home) -> None:
    """`deploy native build` asks pip which index this machine uses."""
    python = home.program("deploy").resolve().with_name("python")
    program = "from provision.index import pip_settings, _default_index; pip_settings(); print(_default_index())"
    assert home.ok(python, "-c", program).startswith("https://")


def test_it_runs_the_wheel_s_own_code(home: Home) -> None:
    python = home.program("deploy").resolve().with_name("python")
    for package in ("provision", "bitnet"):
        assert Path(home.ok(python, "-c", f"print(__import__({package!r}).__file__)")).is_relative_to(home.folder)


@pytest.mark.parametrize("home", ["uv", *BY_PIPX], indirect=True)
def test_the_demo_runs_to_its_end(home: Home) -> None:
    done = json.loads(home.ok("deploy", "demo", "--json").splitlines()[-1])
    assert done["outcome"] == "done"


# --- how it is completed ----------------------------------------------------------------------------------------------


def test_the_on_host_runtime_alone_names_the_command_that_adds_the_toolkit_and_that_command_does(
    empty_home: Home, wheel: Path, constraints: Path
) -> None:
    install("uv", empty_home, f"bitnet-provision @ {wheel.as_uri()}", constraints)
    assert empty_home.ok("bitnet", "--version") == f"bitnet, version {__version__}\n"

    refused = empty_home.run("deploy", "check")

    assert refused.returncode == 2
    what, _, command = refused.stderr.partition("\nnext: ")
    assert what == "click is not installed: this is the on-host runtime alone."
    assert command.startswith("uv tool install --force ")
    uv = str(Path(sys.executable).with_name("uv"))
    empty_home.ok("sh", "-c", f'UV_CONSTRAINT="$2" "$1"{command.strip().removeprefix("uv")}', "sh", uv, constraints)
    assert empty_home.ok("deploy", "--version") == f"deploy, version {__version__}\n"
