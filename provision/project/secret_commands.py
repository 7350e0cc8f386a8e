"""Secrets that a program of this machine gives: `op read …`, `sops -d …`, `pass show …`.

What the program prints is the value and is never told, nor are its complaints where they hold a line of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from provision.project.here import CommandFailed, TookTooLong, ended, run

_LAST_LINES = 5
_LONGEST_LINE = 300
_LEAST_MASKED = 4  # characters: a shorter line says nothing


def ask(command: Sequence[str], root: Path, timeout: float) -> str:
    """What `command` prints, without one line's end.

    Args:
        timeout: seconds.

    Raises:
        CommandFailed: it cannot start, fails, takes too long, or prints nothing that can be a value.
    """
    try:
        status, value, complaints = run(command, root, timeout)
    except TookTooLong as late:
        raise CommandFailed(f"{str(late)[:-1]}; if it asks for a password, unlock it first.") from None
    if status:
        told = _told(complaints, value)
        raise CommandFailed(f"{command[0]} {ended(status)}{': ' + told if told else ''}.")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise CommandFailed(f"what {command[0]} printed is no UTF-8 text.") from None
    text = text.removesuffix("\n")
    if not text:
        raise CommandFailed(f"{command[0]} printed nothing.")
    return text


def _told(complaints: bytes, value: bytes) -> str:
    """The last of `complaints`, on one line, without what was printed as a value."""
    text = complaints.decode(errors="replace")
    for line in sorted(value.decode(errors="replace").splitlines(), key=len, reverse=True):
        if len(line.strip()) >= _LEAST_MASKED:
            text = text.replace(line.strip(), "…")
    lines = [line.strip()[:_LONGEST_LINE] for line in text.splitlines() if line.strip()]
    return "; ".join("".join(c if c.isprintable() else " " for c in line) for line in lines[-_LAST_LINES:]).rstrip(".")
