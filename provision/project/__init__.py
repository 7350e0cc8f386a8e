"""What a project declares: `deploy.toml` and `.env`, read, judged and typed.

Importing this costs nothing: pydantic comes with the first `load`, tree-sitter with the first problem to locate.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provision.project.loaded import LoadedProject

__all__ = ["load"]


def load(
    directory: Path,
    *,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
    target: str | None = None,
    without_targets: bool = False,
    demand_secrets: bool = True,
    ask_commands: bool = True,
) -> LoadedProject:
    """The project in `directory`: `deploy.toml`, with the variables of `.env` and of the process (which win).

    Args:
        environ: the process's variables; `os.environ` unless given.
        env_file: read instead of `directory/.env`, and then it must be there.
        target: the only place of interest: the result holds this target and the services that it runs, and variables
            that only others need are not demanded.
        without_targets: True for what has none (`render kubernetes`): variables that only targets need are not
            demanded, and the result has no targets.
        demand_secrets: False for what needs no secret's value (`render`, `status`): then `secrets` is empty.
        ask_commands: False where it is enough that the commands which give secrets could be run (`check`).

    Raises:
        DeclarationError: something in the files is wrong; it carries every problem, in the order of the file.
        UsageError: there is no `deploy.toml`, or no such target.
    """
    from provision.project.loading import load_project

    return load_project(
        directory,
        environ=environ,
        env_file=env_file,
        target=target,
        without_targets=without_targets,
        demand_secrets=demand_secrets,
        ask_commands=ask_commands,
    )
