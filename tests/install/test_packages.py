"""What is missing on a machine is named with the command that installs it on that machine."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

from provision.packages import install, package

ROOT = Path(__file__).parents[2]

# what is on PATH, whose account, what is missing, what is to be done
CASES = [
    ("apt-get", "root", "rsync", "apt-get install --yes rsync"),
    ("apt-get sudo", "ann", "rsync", "sudo apt-get install --yes rsync"),
    ("apt-get", "ann", "rsync", "as root: apt-get install --yes rsync"),
    ("apt-get sudo", "ann", "cmake ninja cc c++", "sudo apt-get install --yes cmake ninja-build gcc g++"),
    ("apt-get sudo", "ann", "clang clang++", "sudo apt-get install --yes clang"),
    ("apt-get", "root", "sshd dockerd buildah skopeo", "apt-get install --yes openssh-server docker.io buildah skopeo"),
    ("dnf sudo", "ann", "ninja c++", "sudo dnf install --assumeyes ninja-build gcc-c++"),
    ("dnf", "root", "docker sshd", "dnf install --assumeyes moby-engine openssh-server"),
    ("zypper", "root", "ninja c++ sshd", "zypper install --no-confirm ninja gcc-c++ openssh"),
    ("apk", "root", "c++ sshd docker", "apk add g++ openssh docker"),
    ("pacman sudo", "ann", "ninja cc c++ python3", "sudo pacman -S --needed ninja gcc python"),
    ("brew sudo", "ann", "rsync git", "brew install rsync git"),
    ("apt-get brew sudo", "ann", "rsync", "sudo apt-get install --yes rsync"),
    ("", "ann", "rsync", "install rsync where PATH finds it"),
    ("", "ann", "cmake ninja", "install cmake and ninja where PATH finds them"),
    ("apt-get", "root", "cmake gcc-9", "apt-get install --yes cmake; then install gcc-9 where PATH finds it"),
]


@pytest.mark.parametrize(("there", "account", "missing", "said"), CASES)
def test_a_missing_program_becomes_the_command_that_installs_it_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str, account: str, missing: str, said: str
) -> None:
    for name in there.split():
        (tmp_path / name).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0 if account == "root" else 1000)

    assert install(*missing.split()) == said


def test_every_program_of_the_list_has_the_package_that_the_list_says() -> None:
    rows = [row.split(maxsplit=3) for row in (ROOT / "scripts/packages.txt").read_text().splitlines()]
    listed = {row[2]: row[1].split("|")[-1] for row in rows if row and row[0] != "#" and row[2] != "-"}
    assert {program: package("apt-get", program) for program in listed} == listed


def test_no_message_names_what_only_a_checkout_has() -> None:
    """Every text of the packages, but for docstrings, which are read where the checkout is."""
    ours = re.compile(r"(?<![\w./-])(scripts/[a-z]|make (?:venv|lock|demo|test|binaries|lint)\b|install-packages)")
    found = []
    for package_ in ("provision", "bitnet"):
        for file in sorted((ROOT / package_).rglob("*.py")):
            tree = ast.parse(file.read_text())
            documentation = {
                id(node.value)
                for node in ast.walk(tree)
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                    found += (
                        [f"{file.relative_to(ROOT)}:{node.lineno}: {node.value}"] if ours.search(node.value) else []
                    )
    assert found == []
