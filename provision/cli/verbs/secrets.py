"""`deploy secrets`: which there are, where each is used, and giving one its value."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from provision.cli.github.forks import refuse_fork
from provision.cli.session import Session
from provision.cli.verb import verb
from provision.errors import UsageError

if TYPE_CHECKING:
    from provision.project.environment import Environment

_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"  # as in deploy.toml
_LARGEST = 1 << 20  # bytes of a value: no key file is nearly as long
_NO_LONGER_THAN = 60  # characters of a command that is shown


@click.group("secrets")
def command() -> None:
    """List the project's secrets, give one its value, see whether each has one."""


@verb("list", example="deploy secrets list\ndeploy secrets list --json | jq -r .name", hosts=False)
def list_(session: Session) -> None:
    """Name each secret, where its value comes from, and what uses it; values are never shown."""
    from provision.cli.render import columns
    from provision.project.fault import dotted

    written, uses = _declared(session.directory)
    variables = _environment(session.directory)
    rows = []
    for name, places in uses.items():
        source, used = _source(name, variables, written), [dotted(path) for path in places]
        rows.append((name, source, used))
    if session.console.as_json or not rows:
        for name, source, used in rows:
            session.console.answer({"event": "secret", "name": name, "from": source, "uses": used})
        if not rows:
            session.console.note('deploy.toml names no secret. In a service: secrets = ["NAME"]')
        return
    shown = [[name, source or "not set", ", ".join(used) or "nothing uses it"] for name, source, used in rows]
    session.console.answer({}, columns(shown))
    if missing := [name for name, source, _ in rows if not source]:
        session.console.note(f"next: deploy secrets set {missing[0]}")


@verb("set", example="deploy secrets set API_KEY\ndeploy secrets set API_KEY < key.txt", hosts=False)
@click.argument("name")
def set_(session: Session, name: str) -> None:
    """Give a secret its value in .env: typed where nobody sees it, or from standard input.

    The file is then its owner's alone (mode 0600); its comments and its other lines stay as they are. Of what standard
    input gives, one line's end does not count.
    """
    from provision.project import env_file
    from provision.project.toml import shown

    if not re.fullmatch(_VARIABLE, name):
        raise UsageError(f'"{name}" is no name of a variable.', why="It is made of letters, digits and _.")
    _, uses = _declared(session.directory)
    file = session.directory / ".env"
    value = _value(session, name)
    env_file.write(file, name, value)
    session.console.answer({"event": "result", "name": name, "file": str(file)}, f"{name} is set in {shown(file)}")
    if name not in uses:
        session.console.note(f'Nothing uses it yet. In a service of deploy.toml: secrets = ["{name}"]')
    if os.environ.get(name):
        session.console.note(f"{name} is set in the environment as well, which wins here.")
    _warn(session, file)


@verb("check", example="deploy secrets check\ndeploy secrets check --target vast", hosts=False)
@click.option("-t", "--target", "only", metavar="NAME", help="Only what this target needs (default: all of them).")
def check(session: Session, only: str | None) -> None:
    """See whether each secret has a value, and one that its service can be given; commands that give one are asked.

    Missing ones are named with their places in deploy.toml (exit status 2). Also said: a .env that others may read,
    or that git keeps.
    """
    from provision.manifests.secret_values import secret_refusals
    from provision.project import load
    from provision.project.located import declaration_error

    refuse_fork("no secret is asked for")
    loaded = load(session.directory, target=only)
    if refused := [*secret_refusals(loaded.project, loaded.secrets)]:
        raise declaration_error(refused, loaded.declaration)
    names = sorted(loaded.secrets)
    session.console.answer(
        {"event": "result", "secrets": names},
        f"{len(names)} secret{'s' * (len(names) != 1)}, each with a value: {', '.join(names)}."
        if names
        else "deploy.toml names no secret.",
    )
    _warn(session, session.directory / ".env")


def _declared(directory: Path) -> tuple[Mapping[str, Any], dict[str, list[tuple[str | int, ...]]]]:
    """deploy.toml as it is written, and its secrets with the places that name them; nothing else in it is judged."""
    from provision.project.presets import with_preset
    from provision.project.secret_names import uses
    from provision.project.toml import read_declaration

    written = dict(read_declaration(directory).values)
    if isinstance(written.get("services"), dict):
        written["services"] = {name: with_preset(service) for name, service in written["services"].items()}
    return written, uses(written)


def _environment(directory: Path) -> Environment:
    """The variables of .env alone."""
    from provision.errors import DeclarationError
    from provision.project.environment import read_environment
    from provision.project.toml import shown

    file = directory / ".env"
    found = read_environment(file, shown(file), {}, required=False)
    if found.problems:
        raise DeclarationError(list(found.problems))
    return found


def _source(name: str, env_file: Environment, written: Mapping[str, Any]) -> str:
    """Where the value comes from, as it is looked for; empty where there is none."""
    if os.environ.get(name):
        return "the environment"
    if not (name in os.environ or not env_file.variables.get(name)):
        return ".env"
    sources = written.get("secrets")
    entry = sources.get(name) if isinstance(sources, dict) else None
    words = entry.get("command") if isinstance(entry, dict) else None
    if not isinstance(words, list) or not words:
        return ""
    text = " ".join(map(str, words))
    return f"command: {text if len(text) <= _NO_LONGER_THAN else text[:_NO_LONGER_THAN] + '…'}"


def _value(session: Session, name: str) -> str:
    if session.console.is_interactive:
        return session.console.ask(f"{name}: ")
    if sys.stdin.isatty():
        raise UsageError("nobody is asked here.", next_step=f"deploy secrets set {name}, without --json")
    content = sys.stdin.buffer.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise UsageError(f"standard input has more than {_LARGEST >> 20} MiB; nothing was written.")
    try:
        value = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError("what standard input has is no UTF-8 text; nothing was written.") from None
    if not value:
        raise UsageError("standard input is empty; nothing was written.", next_step=f"deploy secrets set {name}")
    return value


def _warn(session: Session, file: Path) -> None:
    from provision.cli.production import env_file

    if not (found := env_file(file)):
        return
    if found.in_git:
        text = "git keeps .env, and all that ever stood in it. Remove it there: git rm --cached .env"
        session.console.event({"event": "warning", "host": "", "text": text})
    if found.read_by_others:
        text = "other accounts of this machine may read .env: chmod 600 .env"
        session.console.event({"event": "warning", "host": "", "text": text})


for _verb in (list_, set_, check):
    command.add_command(_verb)
