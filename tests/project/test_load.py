"""What a good declaration becomes."""

import dataclasses
import os

import pytest

from provision.errors import DeclarationError, UsageError
from provision.project import load
from provision.project.template import Ref, Template

PROJECT = """
[project]
name = "cres"

[services.llama]
preset = "bitnet-server"
model = "models/x.gguf"
threads = 2

[services.fastapi]
command = ["uvicorn", "app:app", "--port", "${port}"]
port = "${WEB_PORT:-8000}"
env = { URL = "http://127.0.0.1:${services.llama.port}/", NOTE = "${NOTE:-none}", PRICE = "5$ or $${x}" }
secrets = ["TOKEN"]

[targets.vast]
hosts = ["root@${VAST_HOST}:22"]
path = "/workspace/cres"

[targets.fleet]
platform = "systemd"
hosts = ["gpu-[01:16].example.net"]
path = "/srv/${FOLDER:-cres}"
services = ["llama"]
"""
VARIABLES = {"VAST_HOST": "1.2.3.4", "TOKEN": "hunter2"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deploy.toml").write_text(PROJECT)
    return tmp_path


def test_a_value_from_the_environment_is_never_looked_at_again(folder):
    loaded = load(folder, environ={**VARIABLES, "NOTE": "${port} $$ ${VAST_HOST}"})

    assert loaded.project.services["fastapi"].env["NOTE"].text == "${port} $$ ${VAST_HOST}"


def test_a_port_of_a_service_stays_open_until_a_lane_is_known(folder):
    env = load(folder, environ=VARIABLES).project.services["fastapi"].env

    assert env["URL"] == Template(("http://127.0.0.1:", Ref("services.llama.port"), "/"))
    assert env["PRICE"].text == "5$ or ${x}"


def test_a_port_may_come_from_a_variable(folder):
    assert load(folder, environ={**VARIABLES, "WEB_PORT": "9999"}).project.services["fastapi"].port == 9999
    assert load(folder, environ=VARIABLES).project.services["fastapi"].port == 8000


def test_the_environment_of_the_process_wins_over_the_file(folder):
    (folder / ".env").write_text("VAST_HOST=from-file\nTOKEN='a \"b\"\n# c'\nexport NOTE=${VAST_HOST} # comment\n")

    loaded = load(folder, environ={"VAST_HOST": "from-process"})

    assert loaded.project.targets["vast"].hosts[0].text == "root@from-process:22"
    assert loaded.secrets == {"TOKEN": 'a "b"\n# c'}
    assert loaded.project.services["fastapi"].env["NOTE"].text == "${VAST_HOST}"


def test_an_empty_variable_of_the_process_wins_too(folder):
    (folder / ".env").write_text("NOTE=from-file\n")

    env = load(folder, environ={**VARIABLES, "NOTE": ""}).project.services["fastapi"].env

    assert env["NOTE"].text == "none"


def test_another_file_of_variables_is_read_instead(folder):
    (folder / ".env").write_text("VAST_HOST=a\nTOKEN=a\n")
    (folder / "production.env").write_text("VAST_HOST=b\nTOKEN=b\n")

    loaded = load(folder, environ={}, env_file=folder / "production.env")

    assert loaded.project.targets["vast"].hosts[0].text == "root@b:22"
    assert loaded.secrets["TOKEN"] == "b"


def test_a_named_file_of_variables_has_to_be_there(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(DeclarationError, match=r"^production\.env: no such file"):
        load(folder, environ=VARIABLES, env_file=folder / "production.env")


def test_the_environment_of_this_process_is_the_default(folder, monkeypatch):
    monkeypatch.setattr(os, "environ", {**VARIABLES, "VAST_HOST": "mine"})

    assert load(folder).project.targets["vast"].hosts[0].text == "root@mine:22"


def test_one_target_demands_only_what_it_uses(folder):
    project = load(folder, environ={}, target="fleet").project

    assert list(project.targets) == ["fleet"]
    assert list(project.services) == ["llama"]


def test_one_target_demands_all_that_it_uses(folder):
    with pytest.raises(DeclarationError) as caught:
        load(folder, environ={}, target="vast")

    assert [problem.key for problem in caught.value.problems] == [
        "services.fastapi.secrets[0]",
        "targets.vast.hosts[0]",
    ]


def test_without_targets_nothing_is_demanded_that_only_they_use(folder):
    project = load(folder, environ={"TOKEN": "a"}, without_targets=True).project

    assert project.targets == {}
    assert list(project.services) == ["llama", "fastapi"]


def test_a_mistake_in_another_target_is_still_said(folder):
    with (folder / "deploy.toml").open("a") as file:
        file.write("\n[targets.other]\nhosts = [1]\npath = '/w'\n")

    with pytest.raises(DeclarationError, match=r"targets\.other\.hosts\[0\]: expected text"):
        load(folder, environ=VARIABLES, target="fleet")


def test_an_unknown_target_is_answered_with_the_nearest(folder):
    with pytest.raises(UsageError, match=r'no target "vats"\. Did you mean "vast"\?'):
        load(folder, environ=VARIABLES, target="vats")


def test_secrets_are_not_demanded_where_nobody_needs_them(folder):
    assert not load(folder, environ={"VAST_HOST": "a"}, demand_secrets=False).secrets


def test_secrets_and_variables_do_not_show(folder):
    loaded = load(folder, environ={**VARIABLES, "UNRELATED": "swordfish"})

    assert loaded.secrets["TOKEN"] == "hunter2"
    shown = f"{loaded!r} {loaded.secrets} {loaded.secrets['TOKEN']!r} {dataclasses.replace(loaded)}"
    assert "hunter2" not in shown
    assert "swordfish" not in shown


def test_no_file_says_how_to_get_one(tmp_path):
    with pytest.raises(UsageError) as caught:
        load(tmp_path, environ={})

    assert caught.value.next_step == "deploy init"


def test_a_byte_order_mark_and_windows_line_ends_are_no_mistake(folder):
    (folder / "deploy.toml").write_bytes(b"\xef\xbb\xbf" + PROJECT.replace("\n", "\r\n").encode())

    assert load(folder, environ=VARIABLES).project.name == "cres"


def test_places_are_told_from_the_folder_a_person_is_in(folder, monkeypatch):
    (folder / "inner").mkdir()
    (folder / "inner" / "deploy.toml").write_text("[project]\nname = 1\n[services.a]\ncommand = ['a']\n")
    monkeypatch.chdir(folder)

    with pytest.raises(DeclarationError, match=r"^inner/deploy\.toml:2:8: project\.name: expected text"):
        load(folder / "inner", environ={})
