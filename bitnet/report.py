"""What people read: diagnostics, events, and a command as one line."""

from __future__ import annotations

import ipaddress
import json
import shlex
from collections.abc import Sequence
from typing import Any

from bitnet.diagnostics import Diagnostics
from bitnet.errors import InvalidInput
from bitnet.telemetry import Event


def command_line(command: Sequence[str]) -> str:
    """`command` as one line that a POSIX shell reads as the same words; `unit_file_note` says what systemd reads.

    Raises:
        InvalidInput: a word holds a line break, which no one-line form can carry.
    """
    line = " ".join(map(_quoted, command))
    if "\n" in line or "\r" in line:
        raise InvalidInput(
            "the command does not fit on one line",
            why="one of its words, probably the prompt, holds a line break",
            next_step="use --json, which gives it as a list",
        )
    return line


def unit_file_note(command: Sequence[str]) -> str:
    """What to change in `command_line` for `ExecStart=`, or empty.

    systemd expands `%` and `$` inside any quotes (systemd.service(5), "Command lines"), and a shell does not, so no
    form of these two is the same to both.
    """
    special = [character for character in "%$" if any(character in word for word in command)]
    doubled = " and ".join(f"{character * 2} for {character}" for character in special)
    return f"in a unit file, write {doubled}" if special else ""


def _quoted(word: str) -> str:
    """A backslash means itself to a shell inside single quotes, but not to systemd; `"\\\\"` is one to both."""
    return '"\\\\"'.join(map(shlex.quote, word.split("\\")))


def local_url(host: str, port: int) -> str:
    """Where a server that listens on `host` is reached from this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{port}"
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://[{host}]:{port}" if address.version == 6 else f"http://{host}:{port}"


def event(told: Event, *, as_json: bool) -> str:
    """One event as a line: its name, then its facts; or as JSON."""
    if as_json:
        return json.dumps(told.as_dict(), default=str)
    facts = " ".join(f"{name}={_brief(value)}" for name, value in told.fields.items() if value not in ("", [], None))
    return f"bitnet: {told.name} {facts}".rstrip()


def text(found: Diagnostics) -> str:
    """The report in plain lines, problems last."""
    lines: list[str] = []
    for name, about in found.programs.items():
        lines += _program_lines(name, about)
    if found.model:
        lines.append("model: " + _pairs(found.model))
    for name, result in found.probes.items():
        facts = _pairs(result.facts) if isinstance(result.facts, dict) else _brief(result.facts)
        lines.append(f"{name}: {result.health.value}; {facts}" if result.facts else f"{name}: {result.health.value}")
    lines += [f"problem: {line}" for problem in found.problems for line in [problem.replace("\n", "; ")]]
    return "\n".join(lines)


def _program_lines(name: str, about: Any) -> list[str]:
    lines = [f"{name}: {build['path']} ({build['variant']}, {build['version']})" for build in about["builds"]]
    if chosen := about.get("chosen"):
        lines.append(f"{name}: runs {chosen['path']}: {chosen['why']}")
        lines += [f"{name}: not {other['path']}: {other['why']}" for other in chosen["rejected"]]
    if layers := about.get("gpu_layers"):
        lines.append(f"{name}: {layers['layers']} layers on the GPU: {layers['why']}")
    return lines or [f"{name}: none"]


def _pairs(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_brief(value)}" for name, value in facts.items())


def _brief(value: object) -> str:
    shown = str(value)
    return shown if len(shown) <= 160 else f"{shown[:160]}…"
