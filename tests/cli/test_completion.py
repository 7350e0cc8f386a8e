"""Shell completion: what is offered, by what this machine knows alone, and installed where shells look."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from provision.cli import seen
from tests.cli.conftest import DEPLOY
from tests.cli.test_help import HEAVY

DECLARED = """\
[project]
name = "p"
[services.web]
command = ["a"]
[services.worker]
command = ["b"]
[targets.fleet]
hosts = ["ann@gpu-[01:03].example"]
path = "/srv/p"
[targets.vast]
hosts = ["root@${VAST_HOST}:2222", "root@${NOT_SET}"]
path = "/srv/p"
services = ["worker"]
"""
RELEASE = "4f1c9a" * 10 + "4f1c"
CASES = {
    "deploy rollb": ["rollback"],
    "deploy host tr": ["trust"],
    "deploy up --take": ["--take-over"],
    "deploy up --channel ": ["stable", "canary"],
    "deploy logs w": ["web", "worker"],
    "deploy logs -t vast ": ["worker"],
    "deploy check --target ": ["fleet", "vast"],
    "deploy status --host gpu": ["gpu-01.example", "gpu-02.example", "gpu-03.example"],
    "deploy status --target vast --host ": ["198.51.100.7:2222"],
    "deploy host trust gpu-02": ["gpu-02.example"],
    "deploy rollback 4": ["4f1c9a4f1c9a"],
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "deploy.toml").write_text(DECLARED)
    (tmp_path / ".env").write_text("VAST_HOST=198.51.100.7\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    seen.remember(tmp_path, "fleet", ["0" * 64, RELEASE])
    return tmp_path


def offered(project: Path, line: str) -> list[str]:
    # What `import` brings is told on the way out, which click does by itself.
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: sys.stderr.write(' '.join({name.partition('.')[0] for name in sys.modules})))\n"
        "from provision.cli.main import main\n"
        "main([])\n"
    )
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - (not line.endswith(" ")))}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=project,
        env={**os.environ, **words, "_DEPLOY_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {*done.stderr.split()} & (HEAVY - {"dotenv"})
    return [each.partition(",")[2] for each in done.stdout.splitlines() if each]


@pytest.mark.parametrize("line", CASES)
def test_what_is_known_here_is_offered_and_nothing_heavy_is_read_for_it(project: Path, line: str) -> None:
    assert offered(project, line) == CASES[line]


def test_where_nothing_can_be_read_nothing_is_offered(project: Path) -> None:
    (project / "deploy.toml").write_text("[services")
    assert offered(project, "deploy logs ") == []
    (project / "deploy.toml").unlink()
    assert offered(project, "deploy status --host ") == []


def test_releases_are_remembered_for_each_target_the_newest_first(project: Path) -> None:
    seen.remember(project, "vast", ["1" * 64])
    seen.remember(project, "fleet", ["2" * 64, "0" * 64])
    assert [release[0] for release in seen.releases(project, "fleet")] == ["0", "2", "4"]
    assert {release[0] for release in seen.releases(project)} == {"0", "1", "2", "4"}


def test_bash_completes_with_what_was_installed(project: Path) -> None:
    bin_ = project / "bin"
    bin_.mkdir()
    (bin_ / "deploy").write_text(f'#!/bin/sh\nexec {" ".join(DEPLOY)} "$@"\n')
    (bin_ / "deploy").chmod(0o755)
    environ = {**os.environ, "HOME": str(project), "XDG_DATA_HOME": "", "PATH": f"{bin_}:{os.environ['PATH']}"}
    done = subprocess.run([*DEPLOY, "completion", "bash"], env=environ, capture_output=True, text=True, check=True)
    script = project / ".local/share/bash-completion/completions/deploy"
    assert done.stdout == f"wrote {script}\n"
    typed = f'. {script}; COMP_WORDS=(deploy logs we); COMP_CWORD=2; _deploy_completion deploy; echo "$COMPREPLY"'
    assert subprocess.check_output(["bash", "-c", typed], env=environ, cwd=project, text=True) == "web\n"


@pytest.mark.parametrize(
    ("shell", "place", "begins"),
    [
        ("zsh", ".local/share/zsh/site-functions/_deploy", "#compdef deploy"),
        ("fish", ".config/fish/completions/deploy.fish", "function"),
    ],
)
def test_other_shells_find_theirs_where_they_look(project: Path, shell: str, place: str, begins: str) -> None:
    environ = {**os.environ, "HOME": str(project), "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": ""}
    subprocess.run([*DEPLOY, "completion", shell], env=environ, capture_output=True, check=True)
    assert (project / place).read_text().strip().startswith(begins)
    printed = subprocess.check_output([*DEPLOY, "completion", shell, "--print"], env=environ, text=True)
    assert printed.strip() == (project / place).read_text().strip()


def test_no_name_is_offered_that_would_mean_more_to_a_shell(project: Path) -> None:
    """Whoever goes into a folder that somebody else wrote, and presses Tab there, runs nothing of it."""
    names = ["$(touch owned)", "w;reboot", "w`id`", "w b", "w\\nb", "w\\u001b[2J", "w'", "w>b"]
    (project / "deploy.toml").write_text(DECLARED + "".join(f'[services."{name}"]\n' for name in names))
    assert offered(project, "deploy logs ") == ["web", "worker"]
