"""Which Python `make-venv` takes, and what it installs or says where there is none that can make an environment.

Pythons are stand-ins here, as is apt-get; tests/locks/test_make_venv.py has real ones.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.locks.conftest import Checkout

PROGRAMS = (
    "sh",
    "dirname",
    "cat",
    "cmp",
    "grep",
    "awk",
    "mktemp",
    "rm",
    "env",
    "chmod",
    "mkdir",
    "ln",
    "find",
    "sed",
    "readlink",
)
# VERSION is its version, READY a file without which it has no ensurepip. An environment that it makes holds itself.
PYTHON = """\
#!/bin/sh
case $* in
    *version_info*) case VERSION in 3.1[1-4]) exit 0 ;; *) exit 1 ;; esac ;;
    *os.__file__*) echo VERSION ;;
    *"import ensurepip") [ -e READY ] ;;
    *"import sys") exit 0 ;;
    -V) echo "Python VERSION" ;;
    "-m venv --clear "*) mkdir -p "$4/bin" && : >"$4/pyvenv.cfg" && ln -sf "$0" "$4/bin/python" ;;
    "-I scripts/fill_venv.py"*) cat >"${0%/bin/python}/made-from"; echo "filled by VERSION" ;;
esac
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(small: Checkout) -> Run:
    programs = small.home / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).symlink_to(str(shutil.which(name)))

    def write(name: str, text: str) -> Path:
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
        return programs / name

    def run(pythons: dict[str, str], *, ready: bool, apt: str = "exit 100", **environment: str) -> object:
        """`apt` is what apt-get does; its words are noted down. `new_python` of that makes python3.11 appear."""
        there = small.home / "ready"
        there.touch() if ready else None
        for name, version in pythons.items():
            write(name, PYTHON.replace("VERSION", version).replace("READY", str(there)))
        brought = write("brought", PYTHON.replace("VERSION", "3.11").replace("READY", str(there)))
        apt = apt.replace("new_python", f"ln -s {brought} {programs}/python3.11").replace("READY", f": >{there}")
        write("apt-get", f'#!/bin/sh\necho "$*" >>{small.home}/asked\n{apt}\n')
        write("id", "#!/bin/sh\necho 0\n")
        return subprocess.run(
            ["scripts/make-venv", "run"],
            cwd=small.folder,
            env={"PATH": str(programs), "TMPDIR": str(small.home), "POLICY_RC_D": f"{small.home}/policy"} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run  # type: ignore[return-value]


def asked(small: Checkout) -> str:
    """The packages that apt-get was asked for first."""
    words = (small.home / "asked").read_text().splitlines()[0]
    return words.removeprefix("install --yes --no-install-recommends ")


@pytest.mark.parametrize(
    ("pythons", "taken"),
    [
        ({"python3": "3.13"}, "3.13"),
        ({"python3": "3.10", "python3.12": "3.12"}, "3.12"),
        ({"python3": "3.15", "python3.11": "3.11", "python3.14": "3.14"}, "3.11"),
    ],
)
def test_the_first_python_that_the_locks_are_for_is_taken(pythons: dict[str, str], taken: str, run: Run) -> None:
    done = run(pythons, ready=True)

    assert (done.returncode, done.stderr) == (0, "")
    begun = f"an empty environment of Python {taken} comes first, which takes seconds"
    assert done.stdout == f"making .venv: run\n{begun}\nfilled by {taken}\n"


def test_another_python_that_is_named_makes_the_environment_anew(run: Run) -> None:
    pythons = {"python3": "3.13", "python3.12": "3.12"}
    assert "filled by 3.12" in run(pythons, ready=True).stdout

    assert run(pythons, ready=True).stdout == ""
    assert "filled by 3.13" in run(pythons, ready=True, PYTHON="python3").stdout
    assert run(pythons, ready=True, PYTHON="python3").stdout == ""


@pytest.mark.parametrize(
    ("pythons", "packages", "apt"),
    [
        pytest.param({"python3": "3.10"}, "python3.11 python3.11-venv", "new_python; READY", id="Ubuntu 22.04"),
        pytest.param(
            {"python3": "3.10", "python3.11": "3.11"}, "python3.11-venv", "READY", id="there, with its own part missing"
        ),
        pytest.param({"python3": "3.13"}, "python3-venv", "READY", id="Debian 13"),
        pytest.param({"python3": "3.11", "python3.11": "3.11"}, "python3-venv", "READY", id="Debian 12"),
        pytest.param({}, "python3.11 python3.11-venv", "new_python; READY", id="none"),
    ],
)
def test_what_is_missing_of_python_is_installed(
    pythons: dict[str, str], packages: str, apt: str, run: Run, small: Checkout
) -> None:
    done = run(pythons, ready=False, apt=apt)

    assert (done.returncode, done.stderr) == (0, "")
    assert asked(small) == packages
    assert "filled by 3.1" in done.stdout


def test_where_no_package_has_one_it_says_how(run: Run) -> None:
    done = run({"python3": "3.9"}, ready=False)

    assert done.returncode == 1
    assert done.stderr.endswith(
        "Python 3.11 to 3.14 is needed, and none was found; "
        "tried: python3.11 python3.12 python3.13 python3.14 python3.\n"
        "next: install one (uv python install 3.13; pyenv install 3.13), then: make PYTHON=/path/to/python3\n"
    )


def test_a_python_that_was_named_and_is_too_old_is_said_and_nothing_is_installed(run: Run, small: Checkout) -> None:
    done = run({"python3": "3.13", "python3.9": "3.9"}, ready=True, PYTHON="python3.9")

    assert done.returncode == 1
    assert done.stderr.startswith("Python 3.11 to 3.14 is needed, and none was found; tried: python3.9.\n")
    assert not (small.home / "asked").exists()
