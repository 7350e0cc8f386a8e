"""The command that updates, or completes, is that of the tool which installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from provision import __version__
from provision.installed import Installed

ROOT = Path(__file__).parents[2]
WHEEL = {"url": "file:///tmp/bitnet_provision-1-py3-none-any.whl", "archive_info": {}}
GIT = {
    "url": "https://git.example.net/tools.git",
    "vcs_info": {"vcs": "git", "commit_id": "1", "requested_revision": "v2"},
}

# note of the tool, where from, the command that updates, the one that adds the toolkit
CASES = [
    ("uv-receipt.toml", None, "uv tool upgrade bitnet-provision", "uv tool install --force 'bitnet-provision[deploy]'"),
    ("pipx_metadata.json", None, "pipx upgrade bitnet-provision", "pipx install --force 'bitnet-provision[deploy]'"),
    (
        "",
        None,
        "{python} -m pip install --upgrade 'bitnet-provision[deploy]'",
        "{python} -m pip install 'bitnet-provision[deploy]'",
    ),
    (
        "uv-receipt.toml",
        GIT,
        "uv tool upgrade bitnet-provision",
        "uv tool install --force 'bitnet-provision[deploy] @ git+https://git.example.net/tools.git@v2'",
    ),
    (
        "uv-receipt.toml",
        WHEEL,
        "with the wheel of a newer release: uv tool install --force 'bitnet-provision[deploy] @ file:///PATH/TO/WHEEL'",
        f"uv tool install --force 'bitnet-provision[deploy] @ {WHEEL['url']}'",
    ),
]


@pytest.mark.parametrize(("note", "origin", "update", "add"), CASES)
def test_it_is_told_by_what_lies_in_the_environment(
    tmp_path: Path, note: str, origin: dict[str, object] | None, update: str, add: str
) -> None:
    """In an interpreter whose prefix is the folder; the package is a copy, as in a wheel."""
    copy = tmp_path / "site"
    for module in ("provision/installed.py", "provision/__init__.py", "bitnet/__init__.py"):
        (copy / module).parent.mkdir(parents=True, exist_ok=True)
        (copy / module).write_bytes((ROOT / module).read_bytes())
    dist = copy / "bitnet_provision-1.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: bitnet-provision\nVersion: 1\n")
    if origin:
        (dist / "direct_url.json").write_text(json.dumps(origin))
    if note:
        (tmp_path / note).touch()
    program = (
        "import sys; sys.prefix = sys.argv[1]; sys.path.insert(0, sys.argv[1] + '/site')\n"
        "from provision.installed import installed\n"
        "print(installed().update()); print(installed().add_toolkit())"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [text.format(python=sys.executable) for text in (update, add)]


@pytest.mark.parametrize(
    ("prefix", "then"), [("/src/.venv", " && make -C /src venv"), ("/home/ann/.local/share/uv/tools/x", "")]
)
def test_a_checkout_is_pulled_and_its_own_environment_made_anew(
    monkeypatch: pytest.MonkeyPatch, prefix: str, then: str
) -> None:
    monkeypatch.setattr(sys, "prefix", prefix)
    assert Installed("uv", checkout=Path("/src")).update() == f"git -C /src pull{then}"


def test_the_version_is_that_of_the_code_also_where_nobody_installed_it(tmp_path: Path) -> None:
    """A copy of the packages with another version in the one place: both programs tell it."""
    for package in ("provision", "bitnet"):
        (tmp_path / package).mkdir()
        for module in sorted((ROOT / package).rglob("*.py")):
            copy = tmp_path / package / module.relative_to(ROOT / package)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(module.read_bytes())
    place = tmp_path / "bitnet" / "__init__.py"
    place.write_text(place.read_text().replace(f'"{__version__}"', '"42.7"', 1))

    for module, name in (("provision.cli", "deploy"), ("bitnet", "bitnet")):
        done = subprocess.run(
            [sys.executable, "-m", module, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert done.stdout == f"{name}, version 42.7\n"
