"""Strings of `deploy.toml` that name things known later: a port of a lane, a model's place.

Two kinds of `${…}` exist. An environment reference (`${VAST_HOST}`, `${PORT:-8000}`: upper case) is replaced while
the file is loaded. A place reference (`${port}`, `${services.llama.port}`: lower case) stays a `Ref` until a lane is
rendered. Values that came from the environment are literals for good: one that happens to read `${port}` is never
looked at again. `$$` writes one `$`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_TOKEN = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[^{}:]*)(?::-(?P<default>[^{}]*))?\})")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_PLACE = re.compile(r"port|model|binary|cpus|path|project|services\.(?P<service>[a-z][a-z0-9-]*)\.port")


class BadReference(ValueError):
    """A `${…}` that means nothing; the message says what was expected."""


class MissingVariable(BadReference):
    """`${NAME}` without a default, and NAME is set nowhere."""

    def __init__(self, name: str) -> None:
        super().__init__(f"${{{name}}} is not set: add {name}=… to .env, or write ${{{name}:-default}}")
        self.name = name


@dataclass(frozen=True)
class Ref:
    """A place reference: `port`, `model`, `binary`, `cpus`, `path`, `project` or `services.NAME.port`."""

    name: str


@dataclass(frozen=True)
class Template:
    """A string in parts: literals, and references that a lane resolves."""

    parts: tuple[str | Ref, ...]

    @property
    def refs(self) -> tuple[Ref, ...]:
        return tuple(part for part in self.parts if isinstance(part, Ref))

    @property
    def text(self) -> str:
        """The string, where nothing is left to resolve.

        Raises:
            BadReference: a place reference is left.
        """
        return self.resolve(lambda ref: _not_here(ref.name))

    def resolve(self, value: Callable[[Ref], str]) -> str:
        return "".join(part if isinstance(part, str) else value(part) for part in self.parts)


def parse(text: str, environment: Mapping[str, str]) -> Template:
    """Parse `text`, replacing environment references.

    Raises:
        MissingVariable: a variable without a default is not set.
        BadReference: a `${…}` names nothing known, or a `$` stands alone before `{`.
    """
    parts: list[str | Ref] = []
    literal = ""
    at = 0
    for match in _TOKEN.finditer(text):
        literal += _plain(text[at : match.start()])
        at = match.end()
        if match["dollar"]:
            literal += "$"
        elif _VARIABLE.fullmatch(match["name"]):
            literal += _variable(match["name"], match["default"], environment)
        else:
            parts += [literal, _place(match["name"], match["default"])] if literal else [_place(match["name"], None)]
            literal = ""
    literal += _plain(text[at:])
    if literal or not parts:
        parts.append(literal)
    return Template(tuple(parts))


def _plain(text: str) -> str:
    if "${" in text:
        raise BadReference('"${" is not closed by "}"; a literal dollar is written "$$"')
    return text


def _variable(name: str, default: str | None, environment: Mapping[str, str]) -> str:
    # As in a shell, `:-` replaces an empty value too.
    value = environment.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise MissingVariable(name)
    return value


def _place(name: str, default: str | None) -> Ref:
    if default is not None or not _PLACE.fullmatch(name):
        raise BadReference(
            f"${{{name}}} means nothing here: expected ${{VARIABLE}}, ${{port}}, ${{services.NAME.port}}, ${{model}}, "
            f"${{binary}}, ${{cpus}}, ${{path}} or ${{project}}; a literal dollar is written $$"
        )
    return Ref(name)


def _not_here(name: str) -> str:
    raise BadReference(f"${{{name}}} can't stand here: it is known only where a service runs (command, env, check)")
