"""What a project declares: `deploy.toml` and `.env`, read, judged and typed.

Importing this costs nothing: pydantic comes with the first `load`, tree-sitter with the first problem to locate.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provision.project import environment
from provision.project.toml import read_declaration, shown

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
    secrets_may_lack: bool = False,
    ask_commands: bool = True,
    meanwhile: Callable[[Any, Mapping[str, str]], None] | None = None,
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
        secrets_may_lack: True where it is no fault that a value is not known here: somebody else may have it.
        ask_commands: False where it is enough that the commands which give secrets could be run (`check`).
        meanwhile: given the target as it is written, whatever that is, and the variables, before anything is judged:
            to begin what takes long and hurts nobody if the target is refused.

    Raises:
        DeclarationError: something in the files is wrong; it carries every problem, in the order of the file.
        UsageError: there is no `deploy.toml`, or no such target.
    """
    declaration = read_declaration(directory)
    dotenv = env_file or directory / ".env"
    environ = os.environ if environ is None else environ
    variables = environment.read_environment(dotenv, shown(dotenv), environ, required=env_file is not None)
    targets = declaration.values.get("targets")
    if meanwhile and target and isinstance(targets, dict):
        meanwhile(targets.get(target), variables.variables)
    from provision.project.loading import load_project

    return load_project(
        directory,
        declaration,
        variables,
        dotenv,
        target=target,
        without_targets=without_targets,
        demand_secrets=demand_secrets,
        secrets_may_lack=secrets_may_lack,
        ask_commands=ask_commands,
    )
