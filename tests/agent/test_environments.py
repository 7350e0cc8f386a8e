"""What a host does to make an environment: by its own uv alone, whole or not at all, and by no path that goes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from provision import uv
from provision.agent import environments
from provision.agent.builder import Builder
from provision.agent.importable import check
from provision.contract.failure import INTERRUPTED, Failure
from provision.contract.layout import Layout
from provision.events import ignore

pytestmark = pytest.mark.root  # folders of its own, below which nobody else may write

ID, LAYER, RELEASE = "1" * 64, "2" * 64, "3" * 64
_HASHES = (
    "sha256:a7db850025b95ded1eae8a46181a1a6c56c92c96f0e2b005d9ff8dc0210cab44",
    "sha256:ab7ae7122974553370f0bdb919e1a960b2cd1bc1ef0276416d896db81c14582c",
)
IDNA = "idna==3.20 " + " ".join(f"--hash={each}" for each in _HASHES) + "\n"  # which has a script
SHOP = {
    "id": LAYER,
    "sources": ["src"],
    "distributions": [{"name": "the-shop", "version": "1.2", "entry_points": "[shops]\na = shop:main\n"}],
    "scripts": {"serve": "shop:main"},
}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(str(tmp_path / "a place"))
    Path(layout.private, "locks").mkdir(parents=True)
    return layout


def builder(layout: Layout, lock: str = "", **environment: Any) -> Builder:
    """What makes an environment of `lock`, once uv has been shipped."""
    asked = environments.incoming(layout, {"op": "incoming-environment", "uv": uv.wheels()})
    if not asked["have"]:
        shutil.copy(uv.wheel(asked["machine"], ignore), asked["folder"])
    request: Any = {
        "op": "build-environment",
        "uv": uv.wheels(),
        "environment": {"id": ID, "python": ">=3.8", **environment},
        "lock": lock,
        "shipped": not lock,
        "variables": {},
        "secrets": [],
    }
    return Builder(layout, request, lambda _: None, lambda: None)


def test_no_uv_and_no_python_is_run_that_others_may_have_put_on_path(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ran = tmp_path / "theirs", tmp_path / "ran"
    theirs.mkdir()
    for name in ("uv", "python", "python3", "python3.11"):
        (theirs / name).write_text(f"#!/bin/sh\necho {name} >>{ran}\n")
        (theirs / name).chmod(0o755)
    theirs.chmod(0o777)
    monkeypatch.setenv("PATH", f"{theirs}:{os.environ['PATH']}")
    monkeypatch.setenv("VIRTUAL_ENV", str(theirs.parent))

    builder(layout).build()

    assert environments.present(layout) == [ID]
    assert not ran.exists()


@pytest.mark.parametrize("asked", ["build", "python"])
def test_nothing_is_taken_from_a_folder_above_that_others_may_add_to(
    asked: str, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of /tmp, where the target's path may be, and of the login's home, where sudo starts us."""
    ran = tmp_path / "ran"
    tmp_path.chmod(0o1777)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    (tmp_path / ".venv" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    python.write_text(f'#!/bin/sh\necho python >>{ran}\nexec python3 "$@"\n')
    python.chmod(0o755)
    (tmp_path / "uv.toml").write_text("nothing that uv knows = true\n")
    (tmp_path / "home/uv").mkdir(parents=True)
    (tmp_path / "home/uv/uv.toml").write_text("nor this = true\n")
    (tmp_path / "home").chmod(0o777)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    making = builder(layout)
    monkeypatch.chdir(layout.root)

    getattr(making, asked)()

    assert not ran.exists()


def test_a_uv_that_arrived_damaged_is_not_run(layout: Layout) -> None:
    making = builder(layout)
    (wheel,) = Path(layout.incoming_wheels).iterdir()
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"x")

    with pytest.raises(Failure, match="arrived damaged"):
        making.build()

    assert not environments.present(layout)


def test_what_is_not_what_the_lock_says_leaves_no_environment(layout: Layout) -> None:
    with pytest.raises(Failure, match="uv pip sync ended with status") as failed:
        builder(layout, "idna==3.20 --hash=sha256:" + "0" * 64 + "\n").build()

    assert any("Hash mismatch" in line for line in failed.value.details["log"])
    assert not Path(layout.environment(ID)).exists()


@pytest.mark.slow
@pytest.mark.parametrize("gone", ["python", "complete"])
def test_one_that_is_not_whole_or_whose_python_went_is_made_again(layout: Layout, gone: str) -> None:
    builder(layout).build()
    folder = Path(layout.environment(ID))
    (folder / ("bin/python" if gone == "python" else ".complete")).unlink()
    assert not environments.present(layout)

    assert not builder(layout).build()["present"]

    assert environments.present(layout) == [ID]


@pytest.mark.parametrize("longer", [0, pytest.param(80, marks=pytest.mark.slow)])
def test_scripts_run_the_modules_of_the_release_by_which_they_were_started(
    layout: Layout, tmp_path: Path, longer: int
) -> None:
    if longer:  # the kernel takes 127 characters behind "#!"
        layout = Layout(str(tmp_path / ("x" * longer)))
        Path(layout.private, "locks").mkdir(parents=True)
    builder(layout, IDNA, layer=SHOP).build()
    document: Any = {"environment": {"id": ID, "python": "", "layer": SHOP}}
    said = []
    for name in ("4" * 64, "5" * 64):
        release = Path(layout.release(name))
        (release / "src").mkdir(parents=True)
        code = "import sys, idna, importlib.metadata as m\n"
        code += "def main(): print(__file__, idna.__version__, m.version('the-shop'), sys.prefix)\n"
        (release / "src" / "shop.py").write_text(code)
        environments.link(layout, document, str(release))
        said.append(_output([str(release / ".venv/bin/serve")]))
        assert said[-1] == f"{release}/src/shop.py 3.20 1.2 {release}/.venv"
        assert _output([str(release / ".venv/bin/idna"), "--version"])
        points = "from importlib.metadata import entry_points as e; print([p.value for p in e()['shops']])"
        assert "shop:main" in _output([str(release / ".venv/bin/python"), "-W", "ignore", "-c", points])


def test_what_a_service_begins_with_is_imported_as_its_account(layout: Layout, tmp_path: Path) -> None:
    release = Path(layout.release(RELEASE))
    release.mkdir(parents=True)
    for folder in [tmp_path, *tmp_path.parents][:-2]:  # not the machine's own
        folder.chmod(0o755)
    told = tmp_path / "told"
    told.touch()
    told.chmod(0o666)
    code = f"import os\nopen({str(told)!r}, 'w').write(str(os.getuid()) + os.environ['A'])\nimport not_there\n"
    (release / "main.py").write_text(code)
    entry = {"kind": "module", "name": "main", "python": "/usr/bin/python3", "env": {"A": "é"}}
    service: Any = {"name": "web", "user": "nobody", "entry": entry}

    with pytest.raises(Failure, match="web can't start: No module named 'not_there', in the host's /usr/bin/python3"):
        check(layout, RELEASE, service)

    assert told.read_text() == "65534é"


@pytest.mark.parametrize(
    ("kind", "name", "missing"),
    [
        ("script", "job.py", "pandas"),
        ("run", "job", "pandas"),
        ("run", "package", "package.__main__"),
        ("run", "nowhere", "nowhere"),
        ("module", "fails", ""),
        ("module", "fine", ""),
    ],
)
def test_what_would_do_its_work_is_not_run_to_see_what_it_imports(
    layout: Layout, kind: str, name: str, missing: str
) -> None:
    release = Path(layout.release(RELEASE))
    (release / "package").mkdir(parents=True)
    (release / "package" / "__init__.py").touch()
    (release / "fine.py").write_text("import json\n")
    (release / "fails.py").write_text("import os\nos.environ['IS_SET_LATER']\n")
    (release / "job.py").write_text("import fine\nimport pandas\nopen('ran', 'w')\n")
    service: Any = {"name": "job", "user": "", "entry": {"kind": kind, "name": name, "python": "/usr/bin/python3"}}

    if missing:
        with pytest.raises(Failure, match=f"No module named '?{missing}"):
            check(layout, RELEASE, service)
    else:
        check(layout, RELEASE, service)

    assert not (release / "ran").exists()


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout.strip()


def test_one_that_is_interrupted_leaves_nothing(layout: Layout) -> None:
    making = builder(layout, IDNA)

    def stop() -> None:
        raise Failure(INTERRUPTED, "interrupted")

    making.stop = stop
    with pytest.raises(Failure, match="interrupted"):
        making.build()

    assert not Path(layout.environment(ID)).exists()


def test_a_full_disk_gets_its_room_back(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provision.agent.builder.DISK_RESERVE", 1 << 60)

    with pytest.raises(Failure):
        builder(layout, "idna==3.20 --hash=sha256:" + "0" * 64 + "\n").build()

    assert not Path(layout.environments, ".cache").exists()


def test_the_login_of_an_index_is_told_nowhere(layout: Layout) -> None:
    making = builder(layout, IDNA)
    told: list[Any] = []
    making.emit = told.append
    making.request["variables"] = {
        "UV_DEFAULT_INDEX": "http://ann:the-password-of-ann@127.0.0.1:9/simple",
        "UV_HTTP_RETRIES": "0",
    }

    making.request["secrets"] = ["UV_DEFAULT_INDEX"]
    with pytest.raises(Failure) as failed:
        making.build()

    said = json.dumps([told, failed.value.message()])
    assert "127.0.0.1:9" in said or "<UV_DEFAULT_INDEX>" in said
    assert "the-password-of-ann" not in said
    assert "the-password-of-ann" not in "".join(path.read_text() for path in Path(layout.environments).rglob("*.lock"))
