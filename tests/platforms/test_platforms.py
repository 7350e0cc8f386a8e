"""A platform is a row of the table and a module, and nobody else asks which one it is."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from provision.errors import DeclarationError
from provision.platforms import Deployed, face
from provision.project import load
from provision.project.platforms import OVER_SSH, PLATFORMS, Platform

ROOT = Path(__file__).parents[2]
WITH_ANSWERS = ("provision/platforms/", "provision/agent/supervisors/", "provision/project/platforms.py")


def test_each_row_of_the_table_has_a_module_and_each_module_a_row() -> None:
    shared = {"__init__", "face", "on_host"}
    modules = {file.stem for file in (ROOT / "provision/platforms").glob("*.py")} - shared

    assert {importlib.import_module(f"provision.platforms.{name}").FACE.name for name in modules} == set(PLATFORMS)
    assert [face(name).name for name in PLATFORMS] == list(PLATFORMS)


def test_what_can_be_deployed_to_has_another_half_on_the_host() -> None:
    halves = {
        file.stem
        for file in (ROOT / "provision/agent/supervisors").glob("*.py")
        if "\ndef on_this_host(" in file.read_text()
    }

    assert halves == set(OVER_SSH) == {name for name in PLATFORMS if isinstance(face(name), Deployed)}


@pytest.mark.parametrize("platform", list(Platform))
@pytest.mark.parametrize(
    ("key", "ability", "refused"),
    [
        ("user_units = true", "user_units", "has no user units; systemd has."),
        ('supervisor_config = "/etc/s.conf"', "own_config", "does not read it; supervisord does."),
    ],
)
def test_a_key_that_a_platform_does_not_know_is_refused_with_those_that_do(
    tmp_path: Path, platform: Platform, key: str, ability: str, refused: str
) -> None:
    place = "" if PLATFORMS[platform].in_cluster else 'hosts = ["a"]\npath = "/srv/a"\n'
    (tmp_path / "deploy.toml").write_text(
        '[project]\nname = "a"\n[services.web]\ncommand = ["web"]\n'
        f'[targets.there]\nplatform = "{platform}"\n{place}{key}\n'
    )
    if getattr(PLATFORMS[platform], ability):
        load(tmp_path, environ={})
        return

    with pytest.raises(DeclarationError) as caught:
        load(tmp_path, environ={})

    assert [problem.message for problem in caught.value.problems] == [f"{platform} {refused}"]


def test_nobody_else_asks_which_platform_it_is() -> None:
    code = [*(ROOT / "provision").rglob("*.py"), ROOT / "deploy_vast.py", ROOT / "fabfile.py"]
    files = [file for file in code if not is_told_apart(file)]

    assert [f"{file.relative_to(ROOT)}:{line}" for file in files for line in questions(file.read_text())] == []


@pytest.mark.parametrize(
    "question",
    [
        "target.platform == 'systemd'",
        "str(target.platform) != 'docker'",
        "platform in ('supervisord', 'systemd')",
        "'docker' == supervisor.kind",
        "target.platform is Platform.SYSTEMD",
        "{'systemd': 1}[platform]",
    ],
)
def test_such_a_question_is_noticed(question: str) -> None:
    assert list(questions(f"target = 1\nanswer = {question}\n")) == [2]


def is_told_apart(file: Path) -> bool:
    return file.relative_to(ROOT).as_posix().startswith(WITH_ANSWERS)


def questions(source: str) -> Iterator[int]:
    """The lines in which code compares something with the name of a platform, or looks something up by it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.Subscript):
            sides = [node.value, node.slice]
        else:
            continue
        text = " ".join(map(ast.unparse, sides))
        named = {each.value for side in sides for each in ast.walk(side) if isinstance(each, ast.Constant)}
        named |= {each.lower() for each in re.findall(r"\bPlatform\.([A-Z]+)", text)}
        if named & set(PLATFORMS) and re.search(r"platform|Platform|supervisor|kind", text):
            yield node.lineno
