"""deploy.lock: made from what [python] names, with hashes, and only when that changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from provision.errors import DeployError, UsageError
from provision.events import ignore
from provision.project.python import Python
from provision.project.secrets import Secrets
from provision.release import lock
from provision.release.environment import environment, for_uv
from provision.release.pyproject import PyProject

FROM_FILES = Python(requirements=("requirements.txt",), version="3.12")
FROM_PROJECT = Python(project=".", extras=("more",), groups=("prod",))
PYPROJECT = """\
[project]
name = "the-shop"
version = "1.2"
requires-python = ">=3.10"
dependencies = ["idna==3.10"]
scripts = { serve = "shop.main:main", admin = "shop.admin:run [more]" }
optional-dependencies = { more = ["six==1.17.0"] }
[dependency-groups]
dev = ["pluggy"]
prod = ["certifi"]
"""


def test_it_pins_with_hashes_what_a_file_and_those_it_includes_ask_for(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("-r more/base.txt\nsix==1.17.0; sys_platform == 'win32'\n")
    (tmp_path / "more").mkdir()
    base = tmp_path / "more" / "base.txt"
    base.write_text("idna==3.10\n")

    assert lock.read(FROM_FILES, tmp_path).stale == "there is no deploy.lock yet"
    lock.renew(FROM_FILES, tmp_path, {}, ignore)
    made = lock.read(FROM_FILES, tmp_path)

    assert not made.stale
    assert "idna==3.10 \\\n    --hash=sha256:" in made.requirements
    assert "six==1.17.0 ; sys_platform == 'win32'" in made.requirements
    base.write_text("idna>=3.9\n")
    assert lock.read(FROM_FILES, tmp_path).stale == "deploy.lock is older than what it is made from"
    lock.renew(FROM_FILES, tmp_path, {}, ignore)
    assert lock.read(FROM_FILES, tmp_path).requirements == made.requirements  # what still fits stays


def test_files_elsewhere_and_in_a_circle_are_included(tmp_path: Path) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere.txt"
    (project / "more").mkdir(parents=True)
    elsewhere.write_text("idna==3.10\n")
    (project / "requirements.txt").write_text(f"-r {elsewhere}\n-r more/../requirements.txt\n-r ../elsewhere.txt\n")

    assert [name for name, _ in lock._inputs(FROM_FILES, project)] == ["requirements.txt", "../elsewhere.txt"]


def test_a_current_lock_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "requirements.txt").write_text("idna==3.10\n")
    lock.renew(FROM_FILES, tmp_path, {}, ignore)
    monkeypatch.setattr("provision.uv.run", None)

    lock.renew(FROM_FILES, tmp_path, {}, ignore)


@pytest.mark.parametrize("with_uv_lock", [False, True])
def test_of_a_project_it_has_the_extras_and_groups_that_are_named(tmp_path: Path, *, with_uv_lock: bool) -> None:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    if with_uv_lock:
        from provision import uv

        uv.run(["lock", "--quiet"], tmp_path, {}, "no lock", ignore)

    lock.renew(FROM_PROJECT, tmp_path, {}, ignore)

    text = lock.read(FROM_PROJECT, tmp_path).requirements
    assert {line.split("==")[0] for line in text.splitlines() if "==" in line} == {"idna", "six", "certifi"}


def test_a_uv_lock_that_is_older_than_its_project_is_said_with_uv_s_words(tmp_path: Path) -> None:
    from provision import uv

    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    uv.run(["lock", "--quiet"], tmp_path, {}, "no lock", ignore)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT.replace("idna==3.10", "idna==3.9"))

    with pytest.raises(DeployError, match="uv lock") as failed:
        lock.renew(FROM_PROJECT, tmp_path, {}, ignore)

    assert "deploy.lock could not be made" in failed.value.what


def test_a_folder_of_this_machine_is_refused(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("-e .\n")
    (tmp_path / "pyproject.toml").write_text(PYPROJECT + "[build-system]\nrequires = []\nbuild-backend = 'x'\n")

    with pytest.raises((UsageError, DeployError), match=r'project = "."|could not be made'):
        lock.renew(FROM_FILES, tmp_path, {}, ignore)

    assert not (tmp_path / "deploy.lock").exists()


def test_the_same_lock_and_python_is_the_same_environment(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("idna==3.10\n")
    lock.renew(FROM_FILES, tmp_path, {}, ignore)
    first = environment(FROM_FILES, tmp_path)
    (tmp_path / "requirements.txt").write_text("idna==3.10  # a remark\n")
    lock.renew(FROM_FILES, tmp_path, {}, ignore)

    assert first == environment(FROM_FILES, tmp_path)
    assert first != environment(Python(requirements=("requirements.txt",), version="3.11"), tmp_path)
    assert environment(Python(source="host"), tmp_path) is None


def test_indexes_and_their_logins_are_variables_of_uv(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(
        "--extra-index-url https://b.test/simple\n-i https://a.test/simple\nidna\n"
    )
    python = Python(requirements=("requirements.txt",), secrets=("UV_INDEX_A_PASSWORD",))

    assert for_uv(python, tmp_path, Secrets({"UV_INDEX_A_PASSWORD": "word"})) == {
        "UV_DEFAULT_INDEX": "https://a.test/simple",
        "UV_INDEX": "https://b.test/simple",
        "UV_INDEX_A_PASSWORD": "word",
    }


SETUPTOOLS = '[build-system]\nrequires = ["setuptools"]\n[project]\nname = "a"\n[tool.setuptools]\n'


@pytest.mark.parametrize(
    ("text", "src", "source"),
    [
        ("", False, "."),
        ("", True, "src"),
        (SETUPTOOLS + 'package-dir = { "" = "lib" }', True, "lib"),
        (SETUPTOOLS + '[tool.setuptools.packages.find]\nwhere = ["python"]', False, "python"),
        ('[tool.hatch.build.targets.wheel]\npackages = ["backend/shop"]', True, "backend"),
        ('[tool.hatch.build.targets.wheel]\npackages = ["shop"]', True, "."),
        ('[tool.uv.build-backend]\nmodule-root = ""', True, "."),
    ],
)
def test_where_modules_are_is_what_the_build_would_say(tmp_path: Path, text: str, source: str, *, src: bool) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    if src:
        (tmp_path / "src").mkdir()

    assert PyProject.read(tmp_path, ".").source == source


@pytest.mark.parametrize(
    ("tail", "is_package"),
    [
        ("", False),
        ('[build-system]\nrequires = ["hatchling"]\n', True),
        ('[build-system]\nrequires = ["hatchling"]\n[tool.uv]\npackage = false\n', False),
        ("[tool.uv]\npackage = true\n", True),
    ],
)
def test_a_project_is_installed_by_the_rule_that_uv_has(tmp_path: Path, tail: str, *, is_package: bool) -> None:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT + tail)
    lock.renew(FROM_PROJECT, tmp_path, {}, ignore)

    made = environment(FROM_PROJECT, tmp_path)

    assert made is not None
    assert ("layer" in made) == is_package
    if is_package:
        assert made["layer"]["scripts"] == {"serve": "shop.main:main", "admin": "shop.admin:run"}
        assert made["layer"]["distributions"][0]["name"] == "the-shop"


def test_the_login_of_an_index_is_told_nowhere_and_stands_in_no_lock(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("idna==3.10\n")
    secret = {"UV_DEFAULT_INDEX": "http://ann:the-password-of-ann@127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"}

    with pytest.raises(DeployError, match="could not be made") as failed:
        lock.renew(FROM_FILES, tmp_path, secret, ignore)

    assert "the-password-of-ann" not in str(failed.value)
    assert not (tmp_path / "deploy.lock").exists()
