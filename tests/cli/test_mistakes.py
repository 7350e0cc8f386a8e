"""What a careless person types, writes or has on a host is answered with the sentence that helps.

Each page in tests/cli/mistakes holds files that its mistakes begin with, and for each mistake what is changed in
deploy.toml, the command line, the lines of the answer, and the exit code. Of what runs on a host some lines are given,
else all.
"""

from __future__ import annotations

import shlex
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from provision.cli.main import main

PAGES = {file.stem: tomllib.loads(file.read_text()) for file in sorted((Path(__file__).parent / "mistakes").glob("*"))}


def of(page: str) -> list[Any]:
    return [pytest.param(mistake, id=mistake["it"]) for mistake in PAGES[page]["mistake"]]


@pytest.fixture(autouse=True)
def nobody_s_settings(monkeypatch, tmp_path_factory):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(home))


def filled(text: str, known: Mapping[str, object]) -> str:
    """`text` with what is this run's own in its places."""
    for name, value in known.items():
        text = text.replace(f"<{name}>", str(value))
    return text


def answer(mistake: Mapping[str, Any], page: str, folder: Path, monkeypatch, capsys, **known: object) -> list[str]:
    """What the mistake is told, line by line; its exit code has been looked at."""
    files = {**PAGES[page]["files"], **mistake.get("files", {})}
    for name, text in files.items():
        if text or name != "deploy.toml":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(filled(text, known))
    for old, new in mistake.get("change", ()):
        text = (folder / "deploy.toml").read_text()
        assert filled(old, known) in text
        (folder / "deploy.toml").write_text(text.replace(filled(old, known), filled(new, known), 1))
    monkeypatch.chdir(folder / mistake.get("below", "."))

    code = main(shlex.split(mistake["run"]))

    shown = capsys.readouterr()
    assert (shown.out + shown.err, code)[1] == mistake["exit"], shown.out + shown.err
    return (shown.out + shown.err).replace(str(folder), "{dir}").splitlines()


@contextmanager
def unreachable(address: str | None) -> Iterator[None]:
    """While this machine has no route to a host."""
    route = [["ip", "route", verb, "unreachable", address] for verb in ("replace", "del")] if address else []
    for command in route[:1]:
        subprocess.run(command, check=True)
    try:
        yield
    finally:
        for command in route[1:]:
            subprocess.run(command, check=True)


@pytest.mark.parametrize("mistake", of("typed"))
def test_what_is_mistyped(mistake, tmp_path, monkeypatch, capsys):
    assert answer(mistake, "typed", tmp_path, monkeypatch, capsys) == mistake["says"]


@pytest.mark.parametrize("mistake", of("declared"))
def test_what_is_declared_wrong(mistake, tmp_path, monkeypatch, capsys):
    assert answer(mistake, "declared", tmp_path, monkeypatch, capsys) == mistake["says"]


@pytest.mark.root
@pytest.mark.parametrize("mistake", of("hosts"))
def test_what_a_host_has_or_lacks(mistake, supervisord_host, place, tmp_path, monkeypatch, capsys):
    host = supervisord_host
    known = {"host": host.address, "key": host.host_key, "identity": host.identity, "port": place.port()}
    known |= {"name": place.name, "path": place.path}

    with unreachable(mistake.get("unreachable")):
        said = answer(mistake, "hosts", tmp_path, monkeypatch, capsys, **known)

    for line in mistake["says"]:
        assert filled(line, known) in "\n".join(said)


def test_there_are_enough_of_them():
    assert sum(len(page["mistake"]) for page in PAGES.values()) >= 120
