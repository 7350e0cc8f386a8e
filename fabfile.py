"""The same steps as Fabric tasks: `fab --list`, `fab up`, `fab up --target vast --channel canary`.

Each task is one verb of `deploy`, so that a team's own tasks can stand between them.
"""

from __future__ import annotations

from typing import Any

from fabric import task
from invoke.exceptions import Exit

from provision.cli.main import main


def _deploy(verb: str, *words: str, target: str = "", folder: str = "") -> None:
    options = [*(["--target", target] if target else []), *(["--dir", folder] if folder else [])]
    code = main([verb, *words, *options])
    if code:
        raise Exit(code=code)


@task
def check(_context: Any, target: str = "", folder: str = "") -> None:
    """Say whether deploy.toml and .env are sound."""
    _deploy("check", target=target, folder=folder)


@task
def plan(_context: Any, target: str = "", folder: str = "", channel: str = "stable") -> None:
    """Show what up would do; change nothing."""
    _deploy("plan", "--channel", channel, target=target, folder=folder)


@task
def up(_context: Any, target: str = "", folder: str = "", channel: str = "stable") -> None:
    """Ship the project, prove it, and let users reach it; or put everything back."""
    _deploy("up", "--channel", channel, target=target, folder=folder)


@task
def promote(_context: Any, target: str = "", folder: str = "") -> None:
    """Bring the canary's release to stable, proven again."""
    _deploy("promote", target=target, folder=folder)


@task
def rollback(_context: Any, target: str = "", folder: str = "", release: str = "") -> None:
    """Go back to the release before this one, or to a named one."""
    _deploy("rollback", *([release] if release else []), target=target, folder=folder)


@task
def status(_context: Any, target: str = "", folder: str = "") -> None:
    """Show what runs, since which release, and whether it is healthy."""
    _deploy("status", target=target, folder=folder)


@task
def smoke(_context: Any, target: str = "", folder: str = "", channel: str = "stable") -> None:
    """Run the checks from here, through a tunnel."""
    _deploy("smoke", "--channel", channel, target=target, folder=folder)


@task
def history(_context: Any, target: str = "", folder: str = "") -> None:
    """Show what was deployed, by whom, and how it ended."""
    _deploy("history", target=target, folder=folder)


@task
def logs(_context: Any, service: str, target: str = "", folder: str = "", lines: int = 100) -> None:
    """Show the last lines of a service's log."""
    _deploy("logs", service, "--lines", str(lines), target=target, folder=folder)


@task
def down(_context: Any, target: str = "", folder: str = "") -> None:
    """Stop the project's services and remove them from the supervisor."""
    _deploy("down", target=target, folder=folder)
