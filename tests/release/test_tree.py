"""The digest that laptop and host agree on."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from provision.contract import tree


def fill(root: Path) -> Path:
    (root / "src").mkdir(parents=True)
    (root / "src" / "app.py").write_text("print()\n")
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o755)
    (root / "now").symlink_to("src/app.py")
    return root


def relink(link: Path, target: str) -> None:
    link.unlink()
    link.symlink_to(target)


def make_read_only(root: Path) -> None:
    (root / "run").chmod(0o555)
    (root / "src" / "app.py").chmod(0o444)


def digest(root: Path) -> str:
    return tree.digest(os.fspath(root))[0]


def test_the_digest_is_what_its_description_says(tmp_path: Path) -> None:
    def sha256(text: bytes) -> bytes:
        return hashlib.sha256(text).hexdigest().encode()

    records = (
        b"tree 1\0"
        b"l\0now\0src/app.py\0"
        b"f\0run\0x\0" + sha256(b"#!/bin/sh\n") + b"\0"
        b"f\0src/app.py\0-\0" + sha256(b"print()\n") + b"\0"
    )  # fmt: skip

    assert digest(fill(tmp_path)) == hashlib.sha256(records).hexdigest()


CHANGES: dict[str, Callable[[Path], object]] = {
    "a byte": lambda root: (root / "run").write_text("#!/bin/sh "),
    "an executable bit": lambda root: (root / "src" / "app.py").chmod(0o744),
    "a name": lambda root: (root / "run").rename(root / "runs"),
    "a folder's name": lambda root: (root / "src").rename(root / "lib"),
    "a further file": lambda root: (root / "src" / "more").write_text(""),
    "a missing file": lambda root: (root / "run").unlink(),
    "a link's target": lambda root: relink(root / "now", "run"),
    "a link instead of its file": lambda root: relink(root / "run", "src/app.py"),
    "a release.json that is not at the top": lambda root: (root / "src" / "release.json").write_text("{}"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_makes_another_release_makes_another_digest(change: Callable[[Path], object], tmp_path: Path) -> None:
    before = digest(fill(tmp_path))

    change(tmp_path)

    assert digest(tmp_path) != before


SAME: dict[str, Callable[[Path], object]] = {
    "times": lambda root: os.utime(root / "run", (0, 0)),
    "modes of a read-only release": make_read_only,
    "an empty folder": lambda root: (root / "empty").mkdir(),
    "the release document": lambda root: (root / "release.json").write_text("{}"),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_what_differs_between_good_copies_does_not_count(change: Callable[[Path], object], tmp_path: Path) -> None:
    before = digest(fill(tmp_path))

    change(tmp_path)

    assert digest(tmp_path) == before


def test_the_order_is_that_of_raw_bytes() -> None:
    def entry(path: str) -> tree.Entry:
        return tree.Entry(path, executable=False, size=0, sha256="0", target="")

    names = ["a/b", "a.b", "a", "é", "z", os.fsdecode(b"\xff"), "\U0001f999", "\uffff"]

    assert [os.fsencode(each.path) for each in tree.sort(map(entry, names))] == sorted(map(os.fsencode, names))


def test_names_that_are_not_text_are_digested_too(tmp_path: Path) -> None:
    before = digest(fill(tmp_path))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n")).write_text("")

    _, entries = tree.digest(os.fspath(tmp_path))

    assert digest(tmp_path) != before
    assert os.fsencode(entries[-1].path) == b"\xff\n"


def test_big_files_are_read_in_pieces(tmp_path: Path) -> None:
    content = os.urandom(3_500_000)
    (tmp_path / "big").write_bytes(content)

    _, (entry,) = tree.digest(os.fspath(tmp_path))

    assert (entry.size, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_a_socket_and_a_pipe_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(tree.NotAFile, match="pipe is a named pipe"):
        tree.digest(os.fspath(tmp_path))

    (tmp_path / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(tmp_path / "s"))
        with pytest.raises(tree.NotAFile, match="s is a socket"):
            tree.digest(os.fspath(tmp_path))


def test_it_runs_alone_with_nothing_but_the_standard_library(tmp_path: Path) -> None:
    fill(tmp_path)
    call = "import runpy, sys; print(runpy.run_path(sys.argv[1])['digest'](sys.argv[2])[0])"

    alone = subprocess.run(
        [sys.executable, "-I", "-S", "-c", call, tree.__file__, tmp_path], capture_output=True, text=True, check=True
    )

    assert alone.stdout.strip() == digest(tmp_path)


def test_the_id_depends_on_tree_and_document() -> None:
    expected = hashlib.sha256(b"release 1\0" + b"ab" + b"\0" + b"{}").hexdigest()

    assert tree.release_id(b"{}", "ab") == expected
    assert len({expected, tree.release_id(b"{} ", "ab"), tree.release_id(b"{}", "ac")}) == 3
