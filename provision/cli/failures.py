"""Exceptions as sentences, an event, and an exit code: the one place."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provision.errors import DeclarationError, DeployError, Exit
from provision.shown import json_line, shown

if TYPE_CHECKING:
    from click import ClickException

_SHOW = "DEPLOY_TRACEBACK"


def tell(error: BaseException, *, as_json: bool) -> int:
    """Say what went wrong, on stderr or as the last event on stdout; the exit code."""
    code, event, text = _facts(error)
    if as_json:
        sys.stdout.write(json_line({"event": "error", **event, "exit": code}) + "\n")
    elif text:
        sys.stderr.write(shown(text.rstrip("\n")) + "\n")
    return code


def _facts(error: BaseException) -> tuple[int, dict[str, Any], str]:
    if isinstance(error, DeployError):
        return int(error.exit), as_event(error), str(error)
    import click

    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return Exit.INTERRUPTED, {"kind": "interrupted", "what": "interrupted"}, "interrupted"
    if isinstance(error, click.ClickException):
        command, what, step = _usage(error)
        return Exit.USAGE, {"kind": "usage", "what": what, "next": step}, f"{command}: {what}\nnext: {step}"
    log = _log(error)
    what = f"deploy failed in a way it should not: {type(error).__name__}: {error}"
    why = f"This is a bug; the details are in {log}."
    event = {"kind": "bug", "what": what, "why": why}
    return Exit.FAILED, event, f"{what}\n{why}\nnext: {_SHOW}=1 deploy … shows them here"


def event_of(error: BaseException) -> tuple[int, dict[str, Any]]:
    """The exit code that `error` leads to, and its facts."""
    if isinstance(error, DeployError):
        return int(error.exit), as_event(error)
    if isinstance(error, KeyboardInterrupt):
        return Exit.INTERRUPTED, {"kind": "interrupted", "what": "interrupted"}
    return Exit.FAILED, {"kind": "bug", "what": f"{type(error).__name__}: {error}"}


def as_event(error: DeployError) -> dict[str, Any]:
    """The facts of `error`, without its exit code."""
    event: dict[str, Any] = {
        "kind": type(error).__name__,
        "what": error.what,
        "why": error.why,
        "next": error.next_step,
        "host": error.host,
        "log": list(error.log),
        **error.details,
    }
    if isinstance(error, DeclarationError):
        event["problems"] = [
            {
                "file": problem.location.file,
                "line": problem.location.line,
                "column": problem.location.column,
                "key": problem.key,
                "message": problem.message,
                "hint": problem.hint,
            }
            for problem in error.problems
        ]
    return event


def _usage(error: ClickException) -> tuple[str, str, str]:
    """The command, what is wrong with how it was written, and the next command."""
    import click

    from provision.cli.typed import no_command

    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "deploy"
    names = context.command.list_commands(context) if context and isinstance(context.command, click.Group) else []
    if context and isinstance(error, click.exceptions.NoArgsIsHelpError):
        return command, f"which of its commands? One of: {', '.join(names)}.", f"{command} --help"
    if context and (word := getattr(error, "command_name", "")):
        error = no_command(word, names, context)
    return command, error.format_message(), getattr(error, "next_step", "") or f"{command} --help"


def _log(error: BaseException) -> str:
    """Where the traceback was written; it goes to the terminal, too, where it was asked for."""
    text = "".join(traceback.format_exception(error))
    if os.environ.get(_SHOW):
        sys.stderr.write(shown(text))
    try:
        descriptor, log = _own_log()
    except (OSError, RuntimeError):  # of the second kind: nobody knows this user's home
        try:
            descriptor, log = tempfile.mkstemp(prefix="deploy-traceback-", suffix=".log")  # 0600, too
        except OSError as failure:
            return f"no file ({failure.strerror})"
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    return log


def _own_log() -> tuple[int, str]:
    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "bitnet-provision"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = folder / "traceback.log"
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), str(log)
