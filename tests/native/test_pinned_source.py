"""The pinned source: from wherever pip would look, and only with the pinned content."""

from __future__ import annotations

import hashlib
import http.server
import json
import shutil
import socket
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from provision.errors import DeployError
from provision.index import _places
from provision.native import Cache, build, data
from tests.native.conftest import Told, write_tiny_llama_cpp

NAME = "llama_cpp_python-9.9.9"


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """pip knows no index but what a test tells it."""
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


@pytest.fixture
def sdist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source distribution like the pinned one, and sources.json pins it."""
    tree = write_tiny_llama_cpp(tmp_path / "tree/vendor/llama.cpp")
    (tree / "docs").mkdir()
    (tree / "docs/long.md").write_text("skipped")
    (tmp_path / "tree/setup.py").write_text("raise SystemExit('a build backend was run')")
    archive = tmp_path / "files" / f"{NAME}.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "tree", arcname=NAME)

    folder = tmp_path / "native"
    shutil.copytree(data.FOLDER, folder)
    sources = json.loads((folder / "sources.json").read_text())
    sources["llama.cpp"] |= {
        "version": "9.9.9",
        "file": archive.name,
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "folder": f"{NAME}/vendor/llama.cpp",
    }
    (folder / "sources.json").write_text(json.dumps(sources))
    monkeypatch.setattr(data, "FOLDER", folder)
    return archive


class Index(http.server.SimpleHTTPRequestHandler):
    """A package index over the files of a folder; says where it redirects, and what was asked of it."""

    asked: list[str] = []  # noqa: RUF012  # one server a test

    def do_GET(self) -> None:
        Index.asked.append(self.path)
        if self.path == "/simple/llama-cpp-python/":
            files = sorted(path.name for path in Path(self.directory).iterdir())
            page = "".join(f'<a href="/moved/{name}">{name}</a>' for name in files).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)
        elif self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/moved"))
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the parent's name
        pass


@pytest.fixture
def index(sdist: Path) -> Iterator[str]:
    """URL of an index that has the pinned file."""
    Index.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Index, directory=str(sdist.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    server.server_close()


def _build(cache: Cache, root: Path, told: Told | None = None) -> Path:
    result = build("portable", targets=["llama-cli"], root=root, cache=cache, on_event=Told() if told is None else told)
    return result.binaries["llama-cli"]


def test_an_index_of_pips_settings_is_used_and_nothing_of_the_package_is_run(
    index: str, cache: Cache, tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index)

    assert _build(cache, tmp_path, told).is_file()

    assert [event for event in told if event["phase"] == "download" and event["event"] == "progress"]
    unpacked = next((cache.root / "sources").iterdir())
    assert sorted(path.name for path in unpacked.iterdir()) == [
        "CMakeLists.txt",
        "ggml",
        "main.cpp",
        "one.c",
        "three.c",
        "two.c",
    ]
    record = json.loads((tmp_path / "build/build.json").read_text())
    assert record["source"]["version"] == "llama-cpp-python 9.9.9"
    assert record["source"]["sha256"] == unpacked.name


def test_an_index_of_a_pip_configuration_file_is_used(
    index: str, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {index}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))

    assert _build(cache, tmp_path).is_file()
    assert "/simple/llama-cpp-python/" in Index.asked


def test_a_folder_of_files_serves_machines_without_a_network(
    sdist: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(sdist.parent))
    assert _build(cache, tmp_path).is_file()


def test_a_tampered_file_is_not_used(
    sdist: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = hashlib.sha256(sdist.read_bytes()).hexdigest()
    sdist.write_bytes(sdist.read_bytes() + b"\0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(sdist.parent))

    with pytest.raises(DeployError) as failure:
        _build(cache, tmp_path)

    got = hashlib.sha256(sdist.read_bytes()).hexdigest()
    assert f"sha256 is {got}, and {pinned} is pinned" in failure.value.why
    assert list((cache.root / "sources").glob("[!.]*")) == []
    assert not (tmp_path / "build").exists()


def test_a_good_mirror_makes_up_for_a_bad_one(
    index: str, sdist: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / sdist.name).write_bytes(b"not it")
    monkeypatch.setenv("PIP_FIND_LINKS", str(bad))
    monkeypatch.setenv("PIP_INDEX_URL", index)
    assert _build(cache, tmp_path).is_file()


def test_an_unreachable_index_is_named_without_its_password(
    sdist: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("PIP_INDEX_URL", f"http://user:s3cret@127.0.0.1:{port}/simple")

    with pytest.raises(DeployError, match=r"llama-cpp-python 9\.9\.9 could not be downloaded") as failure:
        _build(cache, tmp_path)

    assert f"http://***@127.0.0.1:{port}/simple: " in failure.value.why
    assert "refused" in failure.value.why
    assert "s3cret" not in str(failure.value)
    assert "PIP_FIND_LINKS" in failure.value.next_step


def test_an_index_without_the_file_is_told_from_one_that_is_down(
    index: str, sdist: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdist.rename(sdist.with_name("llama_cpp_python-0.0.1.tar.gz"))
    monkeypatch.setenv("PIP_INDEX_URL", index)

    with pytest.raises(DeployError) as failure:
        _build(cache, tmp_path)

    assert failure.value.why == f"{index}: does not have {NAME}.tar.gz"


def test_without_settings_the_source_comes_from_where_pip_looks() -> None:
    ((place, is_index),) = _places({})
    assert place.startswith("https://")
    assert is_index
