"""What a shell may complete: services, targets, hosts and releases, by what this machine knows alone.

Nothing is judged and nobody is asked: services and targets stand in deploy.toml, hosts there and in .env, and releases
are those that an earlier `deploy` saw on hosts. Whatever can't be read completes nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from provision.cli import seen
from provision.errors import DeployError
from provision.project.toml import read_declaration

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_PLAIN = re.compile(r"[\w.@:/\[\]%+-]+")  # a shell puts it on the line as it is: nothing in it may mean more there
_LARGEST_ENV = 1 << 20  # bytes


class Known(click.types.StringParamType):
    """A text that can be completed."""

    def __init__(self, known: Callable[[Path, str], Iterable[str]]) -> None:
        self._known = known

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        del param  # which its name has told already
        directory, target = ctx.params.get("directory"), ctx.params.get("target")
        try:
            known = self._known(directory if isinstance(directory, Path) else Path(), str(target or ""))
            names = [each for each in dict.fromkeys(known) if _PLAIN.fullmatch(each)]
            return [CompletionItem(each) for each in names if each.startswith(incomplete)]
        except (DeployError, OSError, ValueError):
            return []


def services(directory: Path, target: str) -> Iterable[str]:
    """Those that the target runs, or all."""
    runs = _table(_tables(directory, "targets").get(target)).get("services")
    names = _tables(directory, "services")
    return [name for name in names if not isinstance(runs, list) or name in runs]


def targets(directory: Path, _target: str) -> Iterable[str]:
    return _tables(directory, "targets")


def hosts(directory: Path, target: str) -> Iterable[str]:
    """Those of the target, or of all."""
    from provision.hosts.spec import SANDBOX, parse_hosts

    declared = _tables(directory, "targets")
    variables: Mapping[str, str] | None = None
    found: list[str] = []
    for name, table in declared.items():
        entries = _table(table).get("hosts")
        for entry in entries if isinstance(entries, list) and target in ("", name) else ():
            text = str(entry)
            if "${" in text:
                variables = variables or _variables(directory)
                text = _filled(text, variables)
            if text == SANDBOX:
                found.append(text)
            elif text:
                found += [spec.name for spec in parse_hosts([text])]
    return found


def releases(directory: Path, target: str) -> Iterable[str]:
    """Those that were seen on the target's hosts from this machine, the newest first."""
    return [release[:12] for release in seen.releases(directory, target)]


_BY_NAME = {
    "service": services,
    "services": services,
    "target": targets,
    "only": targets,
    "place": targets,
    "hosts": hosts,
    "names": hosts,
}


def completed(param: click.Parameter, *, of_project: bool, of_hosts: bool) -> click.Parameter:
    """`param`, which completes where its name says what it takes."""
    known: Callable[[Path, str], Iterable[str]] | None = _BY_NAME.get(param.name or "")
    if param.name == "release":
        known = releases
    if known and param.type is click.STRING and (of_hosts or (of_project and known in (services, targets))):
        param.type = Known(known)
    return param


def _tables(directory: Path, group: str) -> Mapping[str, Any]:
    return _table(read_declaration(directory).values.get(group))


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _variables(directory: Path) -> Mapping[str, str]:
    from provision.project.environment import read_environment

    file = directory / ".env"
    if file.exists() and file.stat().st_size > _LARGEST_ENV:
        return os.environ
    return read_environment(file, ".env", os.environ, required=False).variables


def _filled(text: str, variables: Mapping[str, str]) -> str:
    """`text` with its variables; empty where one is not set."""
    names = re.findall(r"\$\{(\w+)(?::-([^}]*))?\}", text)
    if any(not variables.get(name) and not default for name, default in names):
        return ""
    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda each: variables.get(each[1]) or each[2] or "", text)
