"""What a host lacks before the first deploy, and how its own package manager provides it.

Looking is one command; deciding is pure; nothing is installed before somebody has read the commands and agreed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provision.errors import DeployError, UsageError
from provision.packages import package
from provision.project.platforms import PLATFORMS

if TYPE_CHECKING:
    from provision.hosts.connection import HostConnection

EVERYWHERE = ("rsync", "python3")
HAPROXY = "haproxy"  # where a target declares traffic; where it can't be installed, `deploy up` brings one
TOOLS = (*EVERYWHERE, *(tool for can in PLATFORMS.values() for tool in can.tools))
OLDEST_PYTHON = (3, 8)  # what the agent is written for
_INSTALL_SECONDS = 900.0
_LAST_WORDS = 400


@dataclass(frozen=True)
class PackageManager:
    """How one kind of system installs packages without asking."""

    refresh: tuple[str, ...]
    install: tuple[str, ...]


MANAGERS = {
    "apt-get": PackageManager(
        ("apt-get", "update", "-q"),
        ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-q", "--no-install-recommends"),
    ),
    "dnf": PackageManager((), ("dnf", "install", "-y")),
    "microdnf": PackageManager((), ("microdnf", "install", "-y")),
    "yum": PackageManager((), ("yum", "install", "-y")),
    "zypper": PackageManager((), ("zypper", "--non-interactive", "install")),
    "apk": PackageManager((), ("apk", "add", "--no-cache")),
    "pacman": PackageManager((), ("pacman", "-Sy", "--noconfirm", "--needed")),
}

# An account's PATH may lack the folders of what administrators run, HAProxy among it.
_PROBE = f"""
id -u
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
for tool in {" ".join(TOOLS)} {HAPROXY} sudo; do command -v "$tool" >/dev/null 2>&1 && echo "tool $tool"; done
for manager in {" ".join(MANAGERS)}; do command -v "$manager" >/dev/null 2>&1 && echo "manager $manager"; done
python3 -c 'import sys; print("python", *sys.version_info[:2])' 2>/dev/null
sudo -n true 2>/dev/null && echo sudo-works
true
"""


@dataclass(frozen=True)
class Tools:
    """What a host has. `sudo_works` is about sudo without a password."""

    present: frozenset[str]
    manager: str
    root: bool
    sudo_works: bool
    python: tuple[int, int] | None


@dataclass(frozen=True)
class Bootstrap:
    """What has to be installed, and the commands that do it, in order."""

    missing: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        return "\n".join(shlex.join(command) for command in self.commands)


def look(connection: HostConnection) -> Tools:
    """Ask the host what it has, in one command."""
    completed = connection.run(["sh", "-c", _PROBE], timeout=30)
    uid, *lines = completed.stdout.decode(errors="replace").splitlines() or [""]
    words = [line.split() for line in lines]
    versions = [(int(word[1]), int(word[2])) for word in words if word[0] == "python"]
    managers = [word[1] for word in words if word[0] == "manager"]
    return Tools(
        present=frozenset(word[1] for word in words if word[0] == "tool"),
        manager=managers[0] if managers else "",
        root=uid == "0",
        sudo_works=["sudo-works"] in words,
        python=versions[0] if versions else None,
    )


def plan(tools: Tools, wanted: Sequence[str] = TOOLS, *, host: str = "") -> Bootstrap:
    """What `wanted` needs on a host with `tools`. Pure.

    Raises:
        UsageError: the host has no known package manager, its Python is too old, or nobody may install there.
    """
    may_install = tools.manager in MANAGERS and (tools.root or tools.sudo_works)
    missing = tuple(tool for tool in wanted if tool not in tools.present and (tool != HAPROXY or may_install))
    if "python3" in wanted and "python3" not in missing and tools.python and tools.python < OLDEST_PYTHON:
        raise UsageError(
            f"its python3 is {tools.python[0]}.{tools.python[1]}; {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} is needed",
            next_step="put a newer python3 first on the PATH of the SSH user",
            host=host,
        )
    if not missing:
        return Bootstrap((), ())
    if tools.manager not in MANAGERS:
        raise UsageError(
            f"{', '.join(missing)} missing, and no package manager is known there",
            why=f"Looked for {', '.join(MANAGERS)}.",
            next_step="install them in the host's image",
            host=host,
        )
    manager = MANAGERS[tools.manager]
    install = (*manager.install, *(package(tools.manager, tool) for tool in missing))
    if not tools.root and not tools.sudo_works:
        raise UsageError(
            f"{', '.join(missing)} missing, and this user may not install packages",
            why="It is not root, and sudo wants a password.",
            next_step=f"on the host, as root: {shlex.join(install)}",
            host=host,
        )
    sudo = () if tools.root else ("sudo", "-n")
    return Bootstrap(missing, tuple((*sudo, *command) for command in (manager.refresh, install) if command))


def bootstrap(
    connection: HostConnection, confirm: Callable[[Bootstrap], bool], wanted: Sequence[str] = TOOLS
) -> Bootstrap:
    """Install on the host what `wanted` lacks, once `confirm` has agreed to the commands; returns what was done.

    Raises:
        UsageError: as `plan`, or `confirm` did not agree.
        DeployError: a command failed; its last words are in `why`.
    """
    todo = plan(look(connection), wanted, host=connection.name)
    if not todo.missing:
        return todo
    if not confirm(todo):
        raise UsageError(
            f"{', '.join(todo.missing)} missing, and nothing was installed",
            next_step=f"deploy host bootstrap {connection.name} --yes",
            host=connection.name,
        )
    for command in todo.commands:
        completed = connection.run(command, timeout=_INSTALL_SECONDS)
        if completed.rc != 0:
            words = (completed.stderr or completed.stdout).decode(errors="replace").strip()
            raise DeployError(
                f"{shlex.join(command)} failed (exit {completed.rc})", why=words[-_LAST_WORDS:], host=connection.name
            )
    still = [tool for tool in wanted if tool not in look(connection).present]
    if still:
        raise DeployError(
            f"{', '.join(still)} still missing after the installation",
            why="The package has another name there, or its folder is not on the SSH user's PATH.",
            host=connection.name,
        )
    return todo
