"""The variables that `deploy.toml` may name: those of the process, and those of `.env` beside the file.

A variable of the process wins over `.env`, so that one run can differ (`VAST_HOST=… deploy up vast`) and CI needs no
file. Values of `.env` are taken as they are: a `${…}` in one is not expanded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from provision.errors import Location, Problem


@dataclass(frozen=True)
class Environment:
    """Where values come from. `variables` has them all; `repr` shows none."""

    variables: Mapping[str, str] = field(repr=False)
    problems: tuple[Problem, ...] = ()


def read_environment(env_file: Path, shown: str, process: Mapping[str, str], *, required: bool) -> Environment:
    """The variables of `env_file`, if it is there or `required`, under those of `process`.

    `shown` is what problems call the file.
    """
    try:
        text = env_file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        missing = Problem(Location(shown), "", "no such file.", "Copy .env.example, or leave --env-file out.")
        return Environment(dict(process), (missing,) if required else ())
    except (OSError, UnicodeDecodeError) as error:
        why = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else (error.strerror or str(error)).lower()
        return Environment(dict(process), (Problem(Location(shown), "", f"cannot be read: {why}."),))
    values: dict[str, str] = {}
    problems: list[Problem] = []
    for line, name, value in _entries(text):
        if name is None or value is None:
            what = "expected NAME=value." if name is None else f"{name} has no value; expected {name}=value."
            problems.append(Problem(Location(shown, line), "", what, _QUOTES if name is None else ""))
        elif "\0" in value:
            problems.append(Problem(Location(shown, line), "", f"{name} holds NUL, which no variable can hold."))
        else:
            values[name] = value
    return Environment({**values, **process}, tuple(problems))


_QUOTES = "A value with blanks or several lines stands in quotes."


def _entries(text: str) -> Iterator[tuple[int, str | None, str | None]]:
    """Line, name and value of each entry; no name where a line can't be read. Values are never in a message."""
    from dotenv.parser import parse_stream

    for binding in parse_stream(StringIO(text)):
        written = binding.original.string
        blank_lines = written[: len(written) - len(written.lstrip())].count("\n")
        if binding.error or binding.key is not None:
            yield binding.original.line + blank_lines, None if binding.error else binding.key, binding.value
