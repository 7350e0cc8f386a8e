"""What can go wrong, as facts. `provision.cli.failures` turns them into sentences.

An exception carries what failed, why, and the next command; it never carries a secret. The exit code belongs to
the class, so that a library user and the command line agree on what an outcome means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple


class Exit(IntEnum):
    """Exit codes of every `deploy` command (docs/reference.md, "Exit codes")."""

    DONE = 0
    FAILED = 1  # failed, and everything was put back
    USAGE = 2  # usage or declaration error
    SOME_HOSTS_FAILED = 3
    REFUSED = 4  # lock, generation, evidence, host key
    DEGRADED = 5  # failed, and could not be put back
    INTERRUPTED = 130  # Ctrl-C, and everything was put back


class DeployError(Exception):
    """A failure that a person has to read.

    Args:
        what: one sentence of what failed.
        why: one sentence of why, or empty.
        next_step: one command or sentence of what to do now, or empty.
        host: the host it happened on, or empty.
        log: the last lines of the program that failed.
        details: further facts, for `--json`.
    """

    exit = Exit.FAILED

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        next_step: str = "",
        host: str = "",
        log: Sequence[str] = (),
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.next_step = next_step
        self.host = host
        self.log = tuple(log)
        self.details = dict(details or {})

    def __str__(self) -> str:
        head = f"{self.host}: {self.what}" if self.host else self.what
        lines = [head, *([self.why] if self.why else []), *(f"  | {line}" for line in self.log)]
        if self.next_step:
            lines.append(f"next: {self.next_step}")
        return "\n".join(lines)


class UsageError(DeployError):
    """The command line or the environment is not usable as given."""

    exit = Exit.USAGE


class Location(NamedTuple):
    """A place in a file; `line` and `column` count from 1, 0 means unknown."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])


class Problem(NamedTuple):
    """One thing wrong in a declaration: where, which key, what was expected, and how to fix it."""

    location: Location
    key: str  # dotted, as in `services.fastapi.port`; empty for the whole file
    message: str  # what is wrong and what was expected
    hint: str = ""  # the fix, such as: Did you mean "port"?

    def __str__(self) -> str:
        parts = [f"{self.location}:", f"{self.key}:" if self.key else "", self.message, self.hint]
        return " ".join(part for part in parts if part)


class DeclarationError(DeployError):
    """A file that a person wrote says something that cannot be; carries every problem found, in file order."""

    exit = Exit.USAGE

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class UnencodableValue(DeployError):
    """A value that a format cannot hold at all. `subject` names it: `services.web.env.TOKEN`."""

    exit = Exit.USAGE

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(f"{subject}: {reason}")
        self.subject = subject
        self.reason = reason


class HostKeyUnknown(DeployError):
    """Nobody has pinned this host's key yet."""

    exit = Exit.REFUSED


class HostKeyChanged(DeployError):
    """The host shows another key than the pinned one."""

    exit = Exit.REFUSED


class Unreachable(DeployError):
    """No SSH connection: refused, timed out, or authentication failed. Nothing was changed."""


class Refused(DeployError):
    """The host will not start a transaction now: a lock, a claim, a generation, or missing evidence."""

    exit = Exit.REFUSED


class NoRoom(Refused):
    """The host's disk filled up while files were sent. Nothing that runs was disturbed."""


class Untrusted(Refused):
    """Others could have changed what lies at the target's path; nothing there was believed, and nothing was changed."""


class RegistryFailed(DeployError):
    """A registry did not answer, or said no. What `what` names was not done."""


class PutBack(DeployError):
    """The release failed and the old one serves, proven again."""


class Degraded(DeployError):
    """The release failed and the old one could not be proven either. The journal is kept."""

    exit = Exit.DEGRADED


class SomeHostsFailed(DeployError):
    """A rollout reached some hosts and not others."""

    exit = Exit.SOME_HOSTS_FAILED


class Interrupted(DeployError):
    """Ctrl-C; everything was put back."""

    exit = Exit.INTERRUPTED
