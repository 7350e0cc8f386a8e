"""What a person typed and click does not know: what was probably meant, as a sentence and the next command.

Words of other tools are known here, and what this project declares: its targets and services. A word of other tools
counts only as long as no command has it, and leads to the first that there is.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from provision.errors import DeployError
from provision.project.fault import did_you_mean
from provision.project.toml import read_declaration

# In no order of importance: what other tools call it -> what it is here, the first of these that is a command.
_ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "apply": ("up",),
    "bash": ("ssh", "exec"),
    "browse": ("open", "tunnel"),
    "bootstrap": ("host bootstrap",),
    "build": ("image build",),
    "connect": ("ssh", "tunnel"),
    "config": ("check",),
    "console": ("ssh", "exec"),
    "create": ("init",),
    "delete": ("down",),
    "deploy": ("up",),
    "destroy": ("down",),
    "diff": ("plan",),
    "dry-run": ("plan",),
    "env": ("secrets", "check"),
    "facts": ("host facts",),
    "forward": ("tunnel",),
    "health": ("status",),
    "help": ("--help",),
    "info": ("status",),
    "install": ("up",),
    "kill": ("stop", "down"),
    "keygen": ("image keygen",),
    "launch": ("up",),
    "lint": ("check",),
    "list": ("status",),
    "log": ("logs",),
    "login": ("ssh", "exec"),
    "ls": ("status",),
    "new": ("init",),
    "port-forward": ("tunnel",),
    "preview": ("plan",),
    "proxy": ("tunnel",),
    "ps": ("status",),
    "publish": ("up",),
    "push": ("up",),
    "redeploy": ("up",),
    "release": ("up",),
    "releases": ("history",),
    "reload": ("restart", "up"),
    "remove": ("down",),
    "restart": ("up",),
    "revert": ("rollback",),
    "rm": ("down",),
    "run": ("exec",),
    "secrets": ("check",),
    "setup": ("init",),
    "sh": ("ssh", "exec"),
    "shell": ("ssh", "exec"),
    "ship": ("up",),
    "sign": ("evidence sign",),
    "ssh": ("exec",),
    "start": ("up",),
    "stop": ("down",),
    "sync": ("up",),
    "tail": ("logs",),
    "test": ("smoke",),
    "top": ("status",),
    "trust": ("host trust",),
    "undeploy": ("down",),
    "undo": ("rollback",),
    "validate": ("check",),
    "verify": ("check",),
    "version": ("--version",),
    "watch": ("status",),
}
# Options of other tools: what to say, and the command that does it.
_OPTIONS: Mapping[str, tuple[str, str]] = {
    "--dry-run": ("`deploy plan` shows what would be done, and changes nothing.", "deploy plan"),
    "--force": ("Nothing is forced: what is refused says what stands against it.", ""),
    "-f": ("Nothing is forced: what is refused says what stands against it.", ""),
    "--yes": ("It asks nothing.", ""),
    "-y": ("It asks nothing.", ""),
    "--verbose": ("`--json` tells every event.", ""),
    "-v": ("`--json` tells every event.", ""),
}
_SAME = {"--tail": "--lines", "--env": "--target", "--service": "--host", "--directory": "--dir", "--path": "--dir"}
_CHOICES = {"k8s": "kubernetes", "docker": "dockerfile", "docker-compose": "compose", "prometheus": "monitoring"}


class Mistyped(click.UsageError):
    """A mistake on the command line, explained; `next_step` is the command that was probably meant, or empty."""

    def __init__(self, what: str, ctx: click.Context | None, next_step: str = "") -> None:
        super().__init__(what, ctx)
        self.next_step = next_step


def no_command(word: str, known: Collection[str], ctx: click.Context) -> Mistyped:
    """`word` stands where one of the commands `known` would."""
    if ctx.parent is None:
        ours = {name: next((way for way in ways if _exists(way, known)), "") for name, ways in _ELSEWHERE.items()}
        ours = {**{name: way for name, way in ours.items() if way}, **{name: name for name in known}}
    else:
        ours = {name: name for name in known}
    near = [word] if word in ours else difflib.get_close_matches(word, ours, n=1)
    path = ctx.command_path
    if near:
        meant = ours[near[0]]
        step = f"{path} {meant}" if meant.startswith("-") else f"{path} {meant} --help"
        return Mistyped(f'no command "{word}". Did you mean "{meant}"?', ctx, step)
    return Mistyped(f'no command "{word}". One of: {", ".join(known)}.', ctx)


def _exists(way: str, known: Collection[str]) -> bool:
    return way.startswith("-") or way.split()[0] in known


def explained(error: click.UsageError, command: click.Command, ctx: click.Context, words: Sequence[str]) -> Mistyped:
    """What is wrong with `words` behind `command`, and what was probably meant."""
    if isinstance(error, Mistyped):
        return error
    if isinstance(error, click.NoSuchOption):
        return _no_option(error.option_name, command, ctx, words)
    if isinstance(error, click.BadOptionUsage):
        return _no_value(error.option_name, command, ctx)
    if isinstance(error, click.MissingParameter) and error.param is not None:
        return _missing(error.param, ctx)
    if isinstance(error, click.BadParameter) and error.param is not None:
        return _bad(error, error.param, ctx)
    if extra := re.fullmatch(r"Got unexpected extra arguments? \((.*)\)", error.message, re.DOTALL):
        return _extra(extra[1].split(" ")[0], command, ctx)
    return Mistyped(error.format_message(), ctx)


def before_the_verb(option: str, words: Sequence[str], known: Collection[str], ctx: click.Context) -> Mistyped:
    """An option that stands where a command is expected."""
    verb = next((word for word in words if word in known), "")
    if verb:
        rest = [word for word in words if word != verb]
        return Mistyped(f'"{option}" stands behind the command.', ctx, f"deploy {shlex.join([verb, *rest])}")
    near = difflib.get_close_matches(option, ["--help", "--version"], n=1)
    return Mistyped(f'no option "{option}".' + (f' Did you mean "{near[0]}"?' if near else ""), ctx)


def _no_option(option: str, command: click.Command, ctx: click.Context, words: Sequence[str]) -> Mistyped:
    what, path = f'no option "{option}".', ctx.command_path
    known = [name for param in command.params for name in (*param.opts, *param.secondary_opts) if name.startswith("-")]
    if any(param.nargs == -1 and param.type is click.UNPROCESSED for param in command.params):
        return Mistyped(f"{what} Options of the command that is run stand behind --.", ctx, f"{path} -- COMMAND …")
    near = difflib.get_close_matches(option, known, n=1)
    meant = _SAME[option] if _SAME.get(option) in known else near[0] if near and option.startswith("--") else ""
    if option in _OPTIONS and not (meant and option not in _OPTIONS):
        said, step = _OPTIONS[option]
        return Mistyped(
            f"{what} {said}", ctx, step or shlex.join([path, *(w for w in words if w != option)]).strip("'")
        )
    return Mistyped(f'{what} Did you mean "{meant}"?' if meant else what, ctx)


def _no_value(option: str, command: click.Command, ctx: click.Context) -> Mistyped:
    if any(isinstance(param, click.Option) and param.is_flag and option in param.opts for param in command.params):
        return Mistyped(f"{option} takes no value.", ctx, f"{ctx.command_path} {option}")
    targets = [*_declared(ctx, "targets")]
    if option in ("-t", "--target") and targets:
        return Mistyped(
            f"{option} wants a target: {', '.join(targets)}.", ctx, f"{ctx.command_path} --target {targets[0]}"
        )
    return Mistyped(f"{option} wants a value.", ctx)


def _missing(param: click.Parameter, ctx: click.Context) -> Mistyped:
    name, path = (param.metavar or param.name or "").upper(), ctx.command_path
    if isinstance(param.type, click.Choice):
        choices = [str(choice) for choice in param.type.choices]
        return Mistyped(f"which {name.lower()}? One of: {', '.join(choices)}.", ctx, f"{path} {choices[0]}")
    if name == "SERVICE" and (services := [*_declared(ctx, "services")]):
        return Mistyped(f"which service? One of: {', '.join(services)}.", ctx, f"{path} {services[0]}")
    if param.nargs == -1:
        return Mistyped("which command?", ctx, f"{path} -- ls -la")
    return Mistyped(f"{name} is missing.", ctx)


def _bad(error: click.BadParameter, param: click.Parameter, ctx: click.Context) -> Mistyped:
    name, kind = max(param.opts, key=len), param.type
    given = re.match(r"'(.*?)'|(\S+)", error.message)
    value = (given[1] or given[2] or "") if given else ""
    said = f'{name if name.startswith("-") else name.upper()}: "{value}" is'
    if isinstance(kind, click.Choice):
        choices = [str(choice) for choice in kind.choices]
        meant = _CHOICES.get(value)
        hint = f'Did you mean "{meant}"?' if meant in choices else did_you_mean(value, choices)
        return Mistyped(f"{said} none of {', '.join(choices)}. {hint}".rstrip(), ctx)
    if isinstance(kind, click.IntRange):
        return Mistyped(f"{said} no number from {kind.min} to {kind.max}.", ctx)
    return Mistyped(f"{name}: {error.message[:1].lower()}{error.message[1:]}", ctx)


def _extra(word: str, command: click.Command, ctx: click.Context) -> Mistyped:
    path, options = ctx.command_path, {name for param in command.params for name in param.opts}
    if "--target" in options and word in _declared(ctx, "targets"):
        return Mistyped(f'"{word}" is a target, and those are named with --target.', ctx, f"{path} --target {word}")
    if word in _declared(ctx, "services"):
        said = f'"{word}" is a service, and {command.name} is about all of them; what did not change is left alone.'
        return Mistyped(said, ctx, path)
    if word in ("stable", "canary") and "--channel" in options:
        return Mistyped(f'"{word}" is a channel, and those are named with --channel.', ctx, f"{path} --channel {word}")
    if "--dir" in options and (Path(word) / "deploy.toml").is_file():
        return Mistyped(f'"{word}" is a project, and those are named with --dir.', ctx, f"{path} --dir {word}")
    return Mistyped(f'"{word}" is one word too many.', ctx)


def _declared(ctx: click.Context, group: str) -> Mapping[str, Any]:
    """What the project has of a group, as it is written; nothing where that can't be told."""
    try:
        found = read_declaration(ctx.params.get("directory") or Path()).values.get(group)
    except DeployError:
        return {}
    return found if isinstance(found, dict) else {}
