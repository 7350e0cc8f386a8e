"""Secrets stay out of files that are shipped, shared or read by others."""

from __future__ import annotations

import re
from collections.abc import Iterator

from provision.project.fault import Path
from provision.project.production.rule import Finding, Rule, Severity, Subject, literal, written
from provision.project.schema import Once, Prepare
from provision.project.suspects import SHAPE
from provision.project.template import Template

_NAME = re.compile(
    r"(^|[_-])(token|secret|passw(or)?d|passphrase|pw|pwd|credentials?|apikey|(api|access|secret|private|signing)[_-]key)$",
    re.IGNORECASE,
)


def in_the_release(subject: Subject) -> Iterator[Finding]:
    """What looks like a secret and is declared as none: variables, and what the file itself says."""
    yield from (Finding(suspect.path, suspect.message) for suspect in subject.suspects)
    yield from _written(subject)


def _written(subject: Subject) -> Iterator[Finding]:
    for texts in (
        *(written(name, service) for name, service in subject.project.services.items()),
        _written_in_steps(subject),
    ):
        before = ""
        for path, text in texts:
            said = literal(text)
            if path[-2] == "env":
                called, value = str(path[-1]), text
            else:
                option, equals, given = said.partition("=")
                called, value = (option, Template((given,))) if equals else (before, text)
                before = said if said.startswith("-") and not equals else ""
            if SHAPE.search(said) or (_NAME.search(called) and _is_secret(value)):
                what = called.lstrip("-") or "this"
                yield Finding(path, f"{what} looks like a secret, and what stands here is part of every release.")


def _written_in_steps(subject: Subject) -> Iterator[tuple[Path, Template]]:
    steps: list[tuple[Path, str, Prepare | Once]] = [
        (("once", name), key, once) for name, once in subject.project.once.items() for key in ("command", "undo")
    ]
    if subject.project.prepare:
        steps.append((("prepare",), "command", subject.project.prepare))
    for base, key, step in steps:
        yield from (((*base, key, index), Template((word,))) for index, word in enumerate(getattr(step, key)))
        yield from (((*base, "env", variable), text) for variable, text in step.env.items() if key == "command")


def _is_secret(value: Template) -> bool:
    """Whether it can be one: no file's place, no switch, no number, nothing that is known only on the host."""
    said = literal(value).strip()
    return (
        bool(said)
        and not re.fullmatch(r"/.*|true|false|[0-9.]+", said, re.IGNORECASE)
        and not (value.refs or value.secrets)
    )


def _in_git(subject: Subject) -> Iterator[Finding]:
    if subject.env_file and subject.env_file.in_git:
        yield Finding((), "git keeps this file, and all that ever stood in it.", subject.env_file.name)


def _read_by_others(subject: Subject) -> Iterator[Finding]:
    if subject.env_file and subject.env_file.read_by_others:
        yield Finding((), "other accounts of this machine may read it.", subject.env_file.name)


RULES = (
    Rule(
        "secret-in-release",
        Severity.FAIL,
        "No secret stands in a command or in env.",
        "Both are part of the release: they are shipped, kept, and shown by deploy plan and deploy render.",
        'Name the variable in `secrets = ["…"]`; its value comes from .env or the environment.',
        in_the_release,
    ),
    Rule(
        "env-file-in-git",
        Severity.FAIL,
        "git does not keep .env.",
        "Whoever may read the repository has its secrets, also once they are removed.",
        "`git rm --cached .env`, add it to .gitignore, and replace what stood in it.",
        _in_git,
    ),
    Rule(
        "env-file-mode",
        Severity.WARN,
        "Only its owner may read .env.",
        "Every account of the machine, and what runs as one, could read the secrets.",
        "`chmod 600 .env`",
        _read_by_others,
    ),
)
