"""scripts/make-venv on an empty machine: what the locks pin is what is there, whatever else an index has."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.locks.conftest import (
    ASKING,
    EXTENDED,
    LOCKED,
    REPOSITORY,
    Checkout,
    entry,
    lock_more,
    small_checkout,
)
from tests.locks.index import Index, of_tomorrow, wheel


def tomorrow(index: Index) -> None:
    """Newer releases of all that is locked, the build backends and uv among them."""
    for release in list(index.releases.values()):
        index.add(*of_tomorrow(release.project, release.file.split("-")[1]))


def yanked(index: Index) -> None:
    """Half of what is locked was taken back since; of each there is something newer, too."""
    locked = list(index.releases.values())
    tomorrow(index)
    for release in locked[::2]:
        release.yanked = True


def without_uv(index: Index) -> None:
    for file in [file for file, release in index.releases.items() if release.project == "uv"]:
        del index.releases[file]


@pytest.mark.parametrize("since", [tomorrow, pytest.param(yanked, marks=pytest.mark.slow)])
def test_an_index_that_moved_on_gives_the_environment_that_is_locked(
    since: Callable[[Index], None], checkout: Checkout, index: Index
) -> None:
    since(index)
    checkout.pip_settings(index_url=index.url)

    done = checkout.make_venv("run")

    assert done.returncode == 0, done.stderr
    assert "pip does it instead" not in done.stdout
    assert checkout.installed() == checkout.locked("run", "build", "uv")
    help_of = subprocess.run([checkout.venv / "bin" / "deploy", "--help"], capture_output=True, text=True, check=True)
    assert "Usage: deploy" in help_of.stdout


@pytest.mark.slow
@pytest.mark.parametrize("since", [tomorrow, yanked])
def test_so_does_pip_where_uv_cannot_be_had(since: Callable[[Index], None], checkout: Checkout, index: Index) -> None:
    since(index)
    without_uv(index)
    checkout.pip_settings(index_url=index.url)

    done = checkout.make_venv("run")

    assert done.returncode == 0, done.stderr
    assert "uv could not be had (" in done.stdout
    assert "pip does it instead" in done.stdout
    assert checkout.installed() == checkout.locked("run", "build")


def test_pip_alone_looks_for_nothing_newer_either_and_leaves_nothing_over(small: Checkout, index: Index) -> None:
    """What broke every fresh clone: pip 23 asks for the newest `extended[more]`, although the lock pins `extended`."""
    checks = wheel("checks", "1.0")
    index.add(checks)
    tomorrow(index)
    without_uv(index)
    lock = small.folder / "locks" / "run.txt"
    lock.write_text(lock.read_text() + entry(checks))
    small.pip_settings(index_url=index.url)
    done = small.make_venv("run")
    assert done.returncode == 0, done.stderr
    assert small.installed() == {"checks==1.0"} | LOCKED | small.locked("build")

    lock.write_text(entry(ASKING) + entry(EXTENDED))
    again = small.make_venv("run")

    assert again.returncode == 0, again.stderr
    assert small.installed() == LOCKED | small.locked("build")


def test_a_current_environment_is_left_alone_without_a_word(made: tuple[Checkout, Index]) -> None:
    checkout, index = made
    asked = list(index.asked)
    before = {file: file.stat().st_mtime_ns for file in checkout.venv.rglob("*")}

    again = checkout.make_venv("run")

    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert index.asked == asked
    assert {file: file.stat().st_mtime_ns for file in checkout.venv.rglob("*")} == before


def test_groups_add_up_and_what_a_lock_lost_goes(made: tuple[Checkout, Index]) -> None:
    checkout, index = made
    checks, newer = wheel("checks", "1.0"), wheel("extended", "1.1", metadata="Provides-Extra: more\n")
    index.add(checks, newer)
    (checkout.folder / "locks" / "lint.txt").write_text(entry(checks))
    assert checkout.make_venv("lint").returncode == 0
    assert checkout.installed() == {"checks==1.0"} | LOCKED | checkout.locked("build", "uv")
    assert checkout.make_venv("run").stdout == ""

    (checkout.folder / "locks" / "run.txt").write_text(entry(ASKING) + entry(newer))
    (checkout.folder / "locks" / "lint.txt").write_text("")
    done = checkout.make_venv("run")

    assert done.returncode == 0, done.stderr
    assert checkout.installed() == {"asking==1.0", "extended==1.1"} | checkout.locked("build", "uv")


@pytest.mark.slow
def test_a_release_that_was_taken_back_is_installed_as_long_as_it_is_locked(made: tuple[Checkout, Index]) -> None:
    taken_back = wheel("regretted", "1.0")
    taken_back.yanked = True
    made[1].add(*of_tomorrow("regretted", "1.0"))
    checkout = lock_more(made, taken_back)

    done = checkout.make_venv("run")

    assert done.returncode == 0, done.stderr
    assert "regretted==1.0" in checkout.installed()


REFUSED = "A file is not the one that the locks pin (its name stands above); it was not installed.\n"


def test_a_file_that_is_not_the_locked_one_is_refused_in_a_sentence(made: tuple[Checkout, Index]) -> None:
    swapped = wheel("broken", "1.0")
    swapped.sent = wheel("broken", "1.0", code="stolen = True\n").content
    checkout = lock_more(made, swapped)

    done = checkout.make_venv("run")

    assert done.returncode == 1
    assert "broken" in done.stderr
    assert REFUSED in done.stderr
    assert "next: scripts/make-venv run" in done.stderr
    assert "Traceback" not in done.stderr
    assert "broken==1.0" not in checkout.installed()


@pytest.mark.slow
@pytest.mark.parametrize("project", ["extended", "uv"])
def test_a_file_that_was_damaged_on_its_way_is_refused_in_the_same_sentence(
    project: str, small: Checkout, index: Index
) -> None:
    small.pip_settings(index_url=index.url)
    [damaged] = [release for release in index.releases.values() if release.project == project]
    damaged.sent = damaged.content[:-1] + bytes([damaged.content[-1] ^ 1])

    done = small.make_venv("run")

    assert done.returncode == 1
    assert REFUSED in done.stderr
    assert f"{project}==" not in " ".join(small.installed())


def test_an_index_that_nobody_answers_at_is_named_with_what_to_do(made: tuple[Checkout, Index]) -> None:
    checkout = lock_more(made, wheel("unreachable", "1.0"))
    checkout.pip_settings(index_url="http://127.0.0.1:9/simple", retries="0")

    done = checkout.make_venv("run")

    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert "next: check the network and `pip config list`, then: scripts/make-venv run" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_index_that_names_other_hashes_is_refused_in_the_same_sentence(small: Checkout, index: Index) -> None:
    index.add(wheel("extended", "1.0", code="stolen = True\n", metadata="Provides-Extra: more\n"))
    small.pip_settings(index_url=index.url)

    done = small.make_venv("run")

    assert done.returncode == 1
    assert REFUSED in done.stderr


@pytest.mark.slow
def test_an_environment_that_scripts_of_old_made_is_made_anew(small: Checkout, index: Index) -> None:
    small.pip_settings(index_url=index.url)
    subprocess.run([small.environment["PYTHON"], "-m", "venv", "--without-pip", small.venv], check=True)
    (small.venv / "made-from").write_text("0123456789abcdef  -\n")
    (small.venv / "bin" / "left-over").touch()

    assert small.make_venv("run").returncode == 0

    assert not (small.venv / "bin" / "left-over").exists()
    assert small.installed() == LOCKED | small.locked("build", "uv")


@pytest.mark.slow
def test_a_checkout_that_was_moved_runs_its_own_code(small: Checkout, index: Index) -> None:
    small.pip_settings(index_url=index.url)
    assert small.make_venv("run").returncode == 0
    moved = Checkout(small.folder.rename(small.folder.with_name("moved")), small.home)

    assert moved.make_venv("run").returncode == 0

    where = [moved.venv / "bin" / "python", "-c", "import bitnet; print(bitnet.__file__)"]
    said = subprocess.run(where, capture_output=True, text=True, check=True, cwd="/").stdout
    assert said == f"{moved.folder}/bitnet/__init__.py\n"


@pytest.mark.slow
def test_settings_that_would_steer_another_install_steer_nothing_here(small: Checkout, index: Index) -> None:
    small.pip_settings(index_url=index.url)
    (small.home / "constraints.txt").write_text("extended==9\n")
    steering = {f"{tool}_CONSTRAINT": str(small.home / "constraints.txt") for tool in ("PIP", "UV")}
    steering |= {"PIP_USER": "1", "PIP_TARGET": str(small.home / "elsewhere"), "UV_EXCLUDE_NEWER": "2001-01-01"}
    (small.home / "path" / "uv-99.dist-info").mkdir(parents=True)
    steering["PYTHONPATH"] = str(small.home / "path")

    done = small.make_venv("run", **steering, UV_SYSTEM_PYTHON="1", PIP_NO_BINARY=":all:", UV_NO_BINARY="1")

    assert done.returncode == 0, done.stderr
    assert "pip does it instead" not in done.stdout
    assert small.installed() == LOCKED | small.locked("build", "uv")


@pytest.mark.parametrize(
    ("place", "file"),
    [
        ("photos", "photos/first.jpeg"),
        (".venv", ".venv/notes.txt"),
        ("other", "other/pyvenv.cfg"),  # an environment, of another project
        ("..", "small/pyproject.toml"),
    ],
)
def test_a_folder_that_is_no_environment_of_this_checkout_is_left_as_it_is(
    place: str, file: str, small: Checkout
) -> None:
    there = small.folder / place / file.partition("/")[2] if place != ".." else small.folder / "pyproject.toml"
    there.parent.mkdir(exist_ok=True)
    there.touch()

    done = small.make_venv("run", VENV=place)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"{place} is there, and is not an environment that this script made in this checkout; it is left as it is.\n"
        f'next: VENV=ANOTHER_FOLDER scripts/make-venv run; or, if nothing in it is needed: rm -r "{place}"\n'
    )
    assert there.exists()


def test_a_python_that_was_named_and_cannot_be_used_leaves_the_environment_as_it_is(
    made: tuple[Checkout, Index],
) -> None:
    done = made[0].make_venv("run", PYTHON="/nonexistent")

    assert done.returncode == 1
    assert "Python 3.11 to 3.14 is needed, and none was found; tried: /nonexistent.\n" in done.stderr
    assert made[0].make_venv("run").stdout == ""


def test_an_exported_cdpath_leads_nowhere_else(made: tuple[Checkout, Index]) -> None:
    checkout = made[0]
    elsewhere = checkout.home / "elsewhere"
    (elsewhere / "scripts").mkdir(parents=True)

    done = checkout.make_venv("run", CDPATH=str(elsewhere))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_a_checkout_in_a_folder_of_any_letters_works_in_any_locale(tmp_path: Path, index: Index) -> None:
    folder = tmp_path / "Müller 工具"
    folder.mkdir()
    small = small_checkout(folder)
    small.pip_settings(index_url=index.url)

    done = small.make_venv("run", LC_ALL="C")

    assert done.returncode == 0, done.stderr
    importing = [small.venv / "bin" / "python", "-c", "import bitnet; print(ascii(bitnet.__file__))"]
    said = subprocess.run(importing, env={"LC_ALL": "C"}, cwd="/", capture_output=True, text=True, check=True).stdout
    assert said.strip() == ascii(os.path.realpath(small.folder / "bitnet" / "__init__.py"))


def test_every_script_that_goes_to_its_checkout_forgets_cdpath_first() -> None:
    scripts = [file for place in ("scripts", ".ci") for file in (REPOSITORY / place).iterdir() if file.is_file()]
    going = [text for text in (file.read_text() for file in scripts) if 'cd "$(dirname "$0")' in text]

    assert len(going) > 5
    assert all("unset CDPATH" in text.partition('cd "$(dirname')[0] for text in going)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "usage: scripts/make-venv GROUP...    groups: run test lint\n"),
        (["tests"], 'scripts/make-venv: no group "tests"; there are run, test, lint\n'),
    ],
)
def test_a_group_that_is_none_is_named(words: list[str], sentence: str, small: Checkout) -> None:
    done = small.make_venv(*words)

    assert (done.returncode, done.stderr) == (2, sentence)
    assert not small.venv.exists()
