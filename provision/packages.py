"""What is missing on this machine, as the command that installs it here.

A program's package is named as Debian names it, by the one list of system packages (packages.txt, of which a wheel has
a copy); here stands what other systems call it, and how each installs.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path

# In the order in which they are looked for: what came with the system before what somebody added.
_INSTALL: Mapping[str, tuple[str, ...]] = {
    "apt-get": ("apt-get", "install", "--yes"),
    "dnf": ("dnf", "install", "--assumeyes"),
    "microdnf": ("microdnf", "install", "--assumeyes"),
    "yum": ("yum", "install", "--assumeyes"),
    "zypper": ("zypper", "install", "--no-confirm"),
    "apk": ("apk", "add"),
    "pacman": ("pacman", "-S", "--needed"),
    "brew": ("brew", "install"),
}
_OTHER_NAMES: Mapping[str, Mapping[str, str]] = {
    "docker.io": {"dnf": "moby-engine", **dict.fromkeys(("yum", "zypper", "apk", "pacman", "brew"), "docker")},
    "g++": {**dict.fromkeys(("dnf", "microdnf", "yum", "zypper"), "gcc-c++"), "pacman": "gcc", "brew": "gcc"},
    "ninja-build": dict.fromkeys(("zypper", "pacman", "brew"), "ninja"),
    "openssh-server": dict.fromkeys(("zypper", "apk", "pacman", "brew"), "openssh"),
    "libgomp1": {**dict.fromkeys(("dnf", "microdnf", "yum", "apk"), "libgomp"), "pacman": "gcc-libs"},
    "clang": {"brew": "llvm"},
    "python3": {"pacman": "python", "brew": "python"},
}
_SAME_PROGRAM = {"cc": "gcc", "c++": "g++", "clang++": "clang", "ninja-build": "ninja"}
_NOT_LISTED = {"python3": "python3", "supervisord": "supervisor"}  # what hosts need, and the checkout brings itself

# In a wheel the list lies inside the package (pyproject.toml, force-include); in a checkout among its scripts.
_PACKAGED = Path(__file__).parent / "packages.txt"
_LIST = _PACKAGED if _PACKAGED.is_file() else Path(__file__).parents[1] / "scripts" / "packages.txt"


def install(*programs: str) -> str:
    """What a person has to do so that `programs` are on this machine: one command, where it is known."""
    manager = next((name for name in _INSTALL if shutil.which(name)), "")
    known = [program for program in programs if package(manager, program)] if manager else []
    others = [program for program in programs if program not in known]
    steps = []
    if known:
        names = dict.fromkeys(package(manager, program) for program in known)
        command = shlex.join([*_INSTALL[manager], *names])
        if manager == "brew" or os.geteuid() == 0:
            steps.append(command)
        else:
            steps.append(f"sudo {command}" if shutil.which("sudo") else f"as root: {command}")
    if others:
        steps.append(f"install {' and '.join(others)} where PATH finds {'it' if len(others) == 1 else 'them'}")
    return "; then ".join(steps)


def package(manager: str, program: str) -> str:
    """What `manager` calls the package that holds `program`; empty where nobody noted it."""
    debian = _listed().get(_SAME_PROGRAM.get(program, program)) or _NOT_LISTED.get(program, "")
    return _OTHER_NAMES.get(debian, {}).get(manager, debian)


@cache
def _listed() -> Mapping[str, str]:
    """Debian's package of each program in the list. Of "a,b|c" it is c, which recommends the others where they are."""
    rows = (row.split(maxsplit=3) for row in _LIST.read_text(encoding="utf-8").splitlines())
    return {row[2]: row[1].rpartition("|")[2] for row in rows if len(row) == 4 and not row[0].startswith("#")}
