"""Today's values of the secrets that a declaration names: of variables, else of the commands that give them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from provision.errors import UsageError
from provision.project import here, secret_commands, secret_names
from provision.project.fault import Fault
from provision.project.fault import Path as KeyPath
from provision.project.schema import Declaration, SecretSource
from provision.project.secrets import Secret
from provision.project.template import Known, Template

if TYPE_CHECKING:
    from provision.project.loaded import LoadedProject

_MISTYPED = 0.85  # how alike two names are, of which one may be the other mistyped


def secret_values(
    declared: Declaration, known: Known, root: Path, env_file: str, *, target: str | None, ask_commands: bool
) -> tuple[dict[str, str], list[Fault]]:
    """The values by name, and what is wrong with those that are missing. Each command is asked once.

    Args:
        target: where they are wanted: what runs behind its front, or before it, has its own.
        env_file: what problems call the file of variables.
        ask_commands: False to look only whether the commands are there; their values are then left out.
    """
    values: dict[str, str] = {}
    faults: list[Fault] = []
    asked: set[str] = set()
    for path, variable in _named(declared, target):
        if known.values.get(variable):
            values[variable] = known.values[variable]
        elif variable in declared.secrets:
            if variable not in asked:
                faults += _ask(declared, variable, root, values, ask_commands=ask_commands)
            asked.add(variable)
        elif variable not in asked or "env" not in path:  # where it is declared tells enough
            import difflib  # of what fails alone

            state = "is empty" if variable in known.values else "is not set"
            hint = f"Add {variable}=… to {env_file}, or set it in the environment."
            if near := difflib.get_close_matches(variable, known.values, n=1, cutoff=_MISTYPED):
                hint = f"{near[0]} is set: is it that? {hint}" if state == "is not set" else hint
            faults.append(Fault(path, f"{variable} {state}.", hint))
            asked.add(variable)
    return values, faults


def value_of(loaded: LoadedProject, name: str, key: str) -> Secret:
    """Today's value of one that a verb needs by itself, of a project whose secrets were not asked for.

    Args:
        key: what names it.

    Raises:
        UsageError: there is none.
    """
    if value := loaded.environment.variables.get(name) or loaded.secrets.get(name):
        return Secret(value)
    said = loaded.declaration.values.get("secrets", {}).get(name)
    if said is None:
        raise UsageError(f"{key}: {name} is not set.", next_step=f"add {name}=… to .env, or set it in the environment")
    known = Known(loaded.environment.variables, secret_names.declared(loaded.declaration.values))
    source = SecretSource.model_validate(said, context=known)
    try:
        return Secret(secret_commands.ask(source.command, loaded.root, source.timeout))
    except here.CommandFailed as failed:
        why, next_step = str(failed), f"or set {name} in the environment, which then wins"
        raise UsageError(f"{key}: {name} has no value.", why=why, next_step=next_step) from None


def _ask(
    declared: Declaration, name: str, root: Path, values: dict[str, str], *, ask_commands: bool
) -> Iterator[Fault]:
    source, path = declared.secrets[name], ("secrets", name, "command")
    hint = f"Or set {name} in the environment, which then wins."
    if not ask_commands:
        if said := here.missing_program(source.command, root):
            yield Fault((*path, 0), said, f"Install it. {hint}")
        return
    try:
        values[name] = secret_commands.ask(source.command, root, source.timeout)
    except here.CommandFailed as failed:
        yield Fault(path, str(failed), hint)


def _named(declared: Declaration, target: str | None) -> Iterator[tuple[KeyPath, str]]:
    """Each place that needs a secret's value, those that declare it first."""
    targets = [each for name, each in declared.targets.items() if target in (None, name)]
    lists: list[tuple[KeyPath, tuple[str, ...]]] = []
    envs: list[tuple[KeyPath, dict[str, Template]]] = []
    for name, service in declared.services.items():
        if target and targets and not any(each.runs(name) for each in targets):
            continue
        lists += [(("services", name, key), getattr(service, key)) for key in ("secrets", "secret_files")]
        envs.append((("services", name, "env"), service.env))
    if declared.prepare and (not targets or any(target.prepare for target in targets)):
        lists.append((("prepare", "secrets"), declared.prepare.secrets))
        envs.append((("prepare", "env"), declared.prepare.env))
    if not targets or any(target.once for target in targets):
        lists += [(("once", name, "secrets"), once.secrets) for name, once in declared.once.items()]
        envs += [(("once", name, "env"), once.env) for name, once in declared.once.items()]
    if declared.python:
        lists.append((("python", "secrets"), declared.python.secrets))
    yield from ((("models", name, "token"), model.token) for name, model in declared.models.items() if model.token)
    for path, names in lists:
        yield from (((*path, index), variable) for index, variable in enumerate(names))
    for path, env in envs:
        for variable, text in env.items():
            yield from (((*path, variable), part.name) for part in text.secrets)
