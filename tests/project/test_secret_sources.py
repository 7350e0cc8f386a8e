"""Hole 4: which variables are secrets, where their values come from, and who sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.cli.main import main
from provision.errors import DeclarationError
from provision.project import load
from provision.project.template import SecretPart
from tests.faults.hooks import until

HEAD = '[project]\nname = "cres"\n'
ASKED = """
[secrets]
PW = { command = ["sh", "-c", "echo asked >> asked; printf 'open \\\\nsesame\\\\n\\\\n'"] }
OTHER = { command = ["sh", "-c", "echo asked >> other; echo other"] }
[services.web]
command = ["a"]
env = { URL = "u:${PW}@h", ALSO = "${PW}" }
secrets = ["PW"]
[services.worker]
command = ["b"]
secret_files = ["PW"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, toml: str, env: str = "") -> None:
    (folder / "deploy.toml").write_text(HEAD + toml)
    (folder / ".env").write_text(env)


def test_a_command_is_asked_once_in_the_project_s_folder_and_one_line_s_end_goes(folder: Path) -> None:
    write(folder, ASKED)

    loaded = load(folder, environ={})

    assert dict(loaded.secrets) == {"PW": "open \nsesame\n"}
    assert (folder / "asked").read_text() == "asked\n"
    assert not (folder / "other").exists(), "nothing needs its value"


@pytest.mark.parametrize("where", ["environment", ".env"])
def test_a_variable_wins_over_the_command(folder: Path, where: str) -> None:
    write(folder, ASKED, "PW=given\n" if where == ".env" else "")

    loaded = load(folder, environ={"PW": "given"} if where == "environment" else {})

    assert dict(loaded.secrets) == {"PW": "given"}
    assert not (folder / "asked").exists()


def test_no_command_is_asked_by_who_needs_no_value(folder: Path) -> None:
    write(folder, ASKED)

    assert main(["check"]) == 0
    loaded = load(folder, environ={}, demand_secrets=False)

    assert dict(loaded.secrets) == {}
    assert loaded.project.services["web"].env["URL"].parts == ("u:", SecretPart("PW"), "@h")
    assert not (folder / "asked").exists()


def test_check_names_the_program_that_is_missing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        folder,
        '[secrets]\nPW = { command = ["./tools/vault", "read"] }\n[services.web]\ncommand = ["a"]\nsecrets = ["PW"]\n',
    )

    assert main(["check"]) == 2

    said = 'deploy.toml:4:19: secrets.PW.command[0]: there is no program "./tools/vault" on this machine. Install it.'
    assert said in capsys.readouterr().err
    (folder / "tools").mkdir()
    (folder / "tools/vault").write_text("#!/bin/sh\n")
    (folder / "tools/vault").chmod(0o755)
    assert main(["check"]) == 0


def test_a_variable_with_the_value_that_a_command_gave_is_a_secret_too(folder: Path) -> None:
    write(
        folder,
        ASKED.replace("printf 'open \\\\nsesame\\\\n\\\\n'", "echo open-sesame-01234") + 'env = { X = "${SAME}" }\n',
    )
    (folder / ".env").write_text("SAME=open-sesame-01234\n")

    loaded = load(folder, environ={})

    assert loaded.project.services["worker"].secrets == ("SAME",)
    assert loaded.secrets["SAME"] == "open-sesame-01234"


def test_what_a_variable_is_made_of_is_a_secret_of_its_service(folder: Path) -> None:
    write(
        folder,
        '[services.web]\ncommand = ["a"]\nsecrets = ["OWN"]\n'
        'env = { A = "${THEIRS}:${OWN}", THEIRS_TOO = "${THEIRS_TOO}", B = "${UNSET:-default}${SHORT}" }\n'
        '[services.db]\ncommand = ["b"]\nsecrets = ["THEIRS", "THEIRS_TOO", "PIN"]\n'
        "[prepare]\ncommand = ['make']\nenv = { INDEX = 'https://${THEIRS}@i' }\n"
        "[services.third]\ncommand = ['c']\nenv = { UNSET = '${PIN:-x}' }\n",
        "OWN=own-value\nTHEIRS=their-value\nTHEIRS_TOO=their-other\nPIN=dev\nSHORT=dev\n",
    )

    loaded = load(folder, environ={})

    web = loaded.project.services["web"]
    assert web.secrets == ("OWN", "THEIRS", "THEIRS_TOO")
    assert "THEIRS_TOO" not in web.env, "it is given under its own name"
    assert web.env["B"].parts == ("defaultdev",), "three letters are the same by chance"
    assert loaded.project.prepare and loaded.project.prepare.secrets == ("THEIRS",)
    told = repr(loaded)
    assert not [value for value in ("own-value", "their-value", "their-other") if value in told]


def test_where_a_target_is_may_read_as_a_password_reads(folder: Path) -> None:
    write(
        folder,
        '[services.web]\ncommand = ["a"]\nsecrets = ["PW"]\n'
        '[targets.here]\nhosts = ["${LOGIN}@h"]\npath = "/srv/${LOGIN}"\n',
        "PW=ubuntu\nLOGIN=ubuntu\n",
    )

    target = load(folder, environ={}).project.targets["here"]

    assert (target.hosts[0].text, target.path) == ("ubuntu@h", "/srv/ubuntu")


def test_what_a_command_started_ends_with_it(folder: Path) -> None:
    write(
        folder,
        '[secrets]\nPW = { command = ["sh", "-c", "sleep 600 & echo $! > child; sleep 600"], timeout = "500ms" }\n'
        '[services.web]\ncommand = ["a"]\nsecrets = ["PW"]\n',
    )

    with pytest.raises(DeclarationError, match="took longer than"):
        load(folder, environ={})

    child = Path("/proc", (folder / "child").read_text().strip(), "cmdline")
    until(lambda: not child.is_file() or not child.read_bytes(), "the end of what it started")


def test_a_short_value_that_a_secret_happens_to_share_is_only_warned_of(folder: Path) -> None:
    """Hole 4: a user called as its password was refused."""
    write(
        folder,
        '[services.db]\ncommand = ["db", "${DB_USER}"]\nuser = "${DB_USER}"\nenv = { DB_USER = "${DB_USER}" }\n'
        'secrets = ["DB_PASSWORD"]\n',
        "DB_USER=postgres\nDB_PASSWORD=postgres\n",
    )

    loaded = load(folder, environ={})

    assert loaded.project.services["db"].secrets == ("DB_PASSWORD",)
    assert [suspect.path[2:] for suspect in loaded.suspects] == [("command", 1), ("env", "DB_USER")]


def test_a_command_whose_child_keeps_its_complaints_open_has_given_its_value(folder: Path) -> None:
    """Hole 4: ssh with ControlPersist leaves such a one."""
    write(
        folder,
        '[secrets]\nPW = { command = ["sh", "-c", "sleep 20 >/dev/null & echo hunter2"], timeout = "10s" }\n'
        '[services.web]\ncommand = ["a"]\nsecrets = ["PW"]\n',
    )

    assert load(folder, environ={}).secrets["PW"] == "hunter2"


def test_a_front_needs_no_secret_of_what_runs_behind_it_nor_they_one_of_its_own(folder: Path) -> None:
    write(
        folder,
        """
[services.llm]
command = ["a", "${port}"]
port = 8000
secrets = ["TOKEN"]
check = { http = "/health" }
[services.site]
command = ["b", "${port}"]
port = 9000
secrets = ["KEY"]
check = { http = "/health" }
[targets.edge]
hosts = ["root@10.0.0.1"]
path = "/srv/x"
services = ["site"]
[targets.edge.traffic]
[targets.gpu]
hosts = ["root@10.0.0.2"]
path = "/srv/x"
services = ["llm"]
[targets.gpu.traffic]
[targets.gpu.front]
target = "edge"
""",
    )
    given = {"TOKEN": "of llm", "KEY": "of site"}
    for target, needed in {"edge": "KEY", "gpu": "TOKEN"}.items():
        assert dict(load(folder, environ={needed: given[needed]}, target=target).secrets) == {needed: given[needed]}
        with pytest.raises(DeclarationError, match=f"{needed} is not set"):
            load(folder, environ={}, target=target)
