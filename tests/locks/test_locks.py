"""The locks: what pyproject.toml asks for, by hash, from no index in particular."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.locks.conftest import REPOSITORY, Checkout

LOCKS = sorted((REPOSITORY / "locks").glob("*.txt"))


def check(checkout: Checkout) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, checkout.folder / "scripts" / "lock.py", "--check"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_locks_are_made_from_pyproject_toml_as_it_is(checkout: Checkout) -> None:
    done = check(checkout)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def _replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert text.count(old) == 1
        return text.replace(old, new)

    return change


DIFFERS = "{} was not made from what pyproject.toml says now: {}.\nnext: make lock\n"


@pytest.mark.parametrize(
    ("change", "lock", "lacking"),
    [
        (
            _replaced('    "structlog>=24",\n', '    "structlog>=24",\n    "left-pad>=1",\n'),
            "locks/run.txt",
            "it lacks left-pad>=1 (it has none)",
        ),
        (
            _replaced('    "hypothesis>=6.115",\n', '    "hypothesis>=6.115,!=VERSION",\n'),
            "locks/test.txt",
            "it lacks hypothesis!=VERSION,>=6.115 (it has VERSION)",
        ),
        (
            _replaced('    "vermin>=1.6",\n', ""),
            "locks/lint.txt",
            "a package is asked for no more, or otherwise than it was (or for other Pythons or platforms)",
        ),
        (
            _replaced('requires = ["hatchling>=1.27"]', 'requires = ["hatchling>=1.27", "setuptools"]'),
            "locks/build.txt",
            "it lacks setuptools (it has none)",
        ),
    ],
)
def test_a_lock_that_differs_is_named_with_what_it_lacks(
    change: Callable[[str], str], lock: str, lacking: str, checkout: Checkout
) -> None:
    [hypothesis] = [pin.partition("==")[2] for pin in checkout.locked("test") if pin.startswith("hypothesis==")]
    declared = checkout.folder / "pyproject.toml"
    declared.write_text(change(declared.read_text()).replace("VERSION", hypothesis))

    done = check(checkout)

    assert done.returncode == 1
    assert done.stderr == DIFFERS.format(lock, lacking.replace("VERSION", hypothesis))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text.replace("anyio==4", "anyio==3"), id="another version"),
        pytest.param(lambda text: re.sub(r"sha256:([0-9a-f]{64})", "sha256:" + 64 * "0", text, count=1), id="a hash"),
        pytest.param(lambda text: text[: text.rindex("\n", 0, -1) + 1], id="a line fewer"),
        pytest.param(lambda text: text.replace("anyio==", "<<<<<<< HEAD\nanyio=="), id="a conflict"),
        pytest.param(lambda text: text + "# a comment\n", id="a line more"),
    ],
)
def test_a_lock_that_was_changed_after_it_was_made_is_named(change: Callable[[str], str], checkout: Checkout) -> None:
    lock = checkout.folder / "locks" / "run.txt"
    before = lock.read_text()
    lock.write_text(change(before))
    assert lock.read_text() != before

    assert check(checkout).stderr == "locks/run.txt was changed by hand, or by a merge.\nnext: make lock\n"


HAND = "{} was changed by hand, or by a merge.\nnext: make lock\n"
MADE_FROM = (
    "images/*/requirements*.txt were not made from what scripts/lock-images names as it is now.\nnext: make lock\n"
)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("images/minimal-base/requirements.txt", HAND.format("images/minimal-base/requirements.txt")),
        ("images/minimal-base/requirements.in", MADE_FROM),
        ("examples/rollout-server/pyproject.toml", MADE_FROM),
        ("scripts/lock-images", MADE_FROM),
    ],
)
def test_a_list_of_an_image_that_differs_is_named(file: str, said: str, checkout: Checkout) -> None:
    with (checkout.folder / file).open("a") as changed:
        changed.write("# more\n")

    assert check(checkout).stderr == said


def test_locks_for_other_pythons_are_named(checkout: Checkout) -> None:
    script = checkout.folder / "scripts" / "lock.py"
    script.write_text(
        _replaced('PYTHONS = ("3.11", "3.12", "3.13", "3.14")', 'PYTHONS = ("3.11",)')(script.read_text())
    )

    done = check(checkout)

    assert done.returncode == 1
    assert done.stderr.count("(or for other Pythons or platforms)") == len(LOCKS)


def test_a_lock_that_is_missing_is_named(checkout: Checkout) -> None:
    (checkout.folder / "locks" / "uv.txt").unlink()

    assert check(checkout).stderr == "locks/uv.txt is missing.\nnext: make lock\n"


def test_every_package_is_pinned_once_for_each_python_and_by_hash() -> None:
    assert {lock.stem for lock in LOCKS} == {"build", "lint", "run", "test", "uv"}
    for lock in LOCKS:
        entries = re.split(r"(?m)^(?=[^\s#])", lock.read_text())[1:]
        shape = r"[a-z0-9._-]+==[^\s;]+( ; [^\\\n]+)?(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n"
        assert [entry for entry in entries if not re.fullmatch(shape, entry)] == []
        pins = [entry.partition(" \\")[0] for entry in entries]
        assert len(set(pins)) == len(pins)


def test_no_file_names_the_host_of_an_index() -> None:
    hosts = (".".join(("pypi", "org")), "python" + "hosted", ".".join(("npmjs", "org")), ".".join(("debian", "org")))
    command = ["git", "grep", "--ignore-case", "--fixed-strings", *(f"-e{host}" for host in hosts)]

    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (1, "")
