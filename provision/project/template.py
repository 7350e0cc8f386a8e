"""Strings of `deploy.toml` that name things known later: a port of a lane, a model's place.

Two kinds of `${…}` exist. An environment reference (`${VAST_HOST}`, `${PORT:-8000}`: upper case) is replaced while
the file is loaded. A place reference (`${port}`, `${services.llama.port}`: lower case) stays a `Ref` until a lane is
rendered. Values that came from the environment are literals for good: one that happens to read `${port}` is never
looked at again. A secret among them is not replaced at all: it stays a `SecretPart`, which has no value to tell.
`$$` writes one `$`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from provision.project.fault import did_you_mean

_TOKEN = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[^{}:]*)(?::-(?P<default>[^{}]*))?\})")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_PLACES = ("port", "listen", "model", "draft", "mmproj", "hub", "repository", "binary", "cpus", "path", "project")
_PLACE = re.compile(
    "|".join(_PLACES) + r"|services\.(?P<service>[a-z][a-z0-9-]*)\.(?:port|host)|secret_files\.[A-Za-z_][A-Za-z0-9_]*"
)


class BadReference(ValueError):
    """A `${…}` that means nothing; the message says what was expected."""


class MissingVariable(BadReference):
    """Variables without a default, set nowhere. `names` has all of one text."""

    def __init__(self, names: list[str]) -> None:
        listed = " and ".join(f"${{{name}}}" for name in names)
        are, lines = ("is", f"{names[0]}=…") if len(names) == 1 else ("are", "them")
        super().__init__(f"{listed} {are} not set: add {lines} to .env, or write ${{{names[0]}:-default}}")
        self.names = names


class EmptyVariable(MissingVariable):
    """Variables that are set, to nothing, where something is needed."""

    def __init__(self, names: list[str]) -> None:
        listed = " and ".join(f"${{{name}}}" for name in names)
        are, them = ("is", "it") if len(names) == 1 else ("are", "them")
        BadReference.__init__(self, f"{listed} {are} empty: fill {them} in in .env")
        self.names = names


class SecretHere(BadReference):
    """A text is made of a secret, where none can stand."""

    def __init__(self, part: SecretPart) -> None:
        super().__init__(f"{part}, and what stands here is no place for one")
        self.part = part


@dataclass(frozen=True)
class Ref:
    """A place reference: one of `port`, `listen`, `model`, `draft`, `mmproj`, `hub`, `repository`, `binary`, `cpus`,
    `path`, `project`, `services.NAME.port|host`, `secret_files.NAME`.
    """

    name: str


@dataclass(frozen=True)
class SecretPart:
    """Where the value of a secret comes in: the variable's name, never what it holds.

    `like` is the declared secret whose value it has, where nothing declares the variable itself.
    """

    name: str
    like: str = field(default="", compare=False)

    def __str__(self) -> str:
        same = f"has the very value of the secret {self.like}" if self.like else "is a secret"
        return f"${{{self.name}}} {same}"


@dataclass(frozen=True)
class Known:
    """The variables of one load, and which of them are secrets.

    Attributes:
        declared: names that the file declares as secrets.
        alike: other names with the value of one -> the one.
        promised: secrets that a command gives; they need not be among `values`.
    """

    values: Mapping[str, str] = field(repr=False)
    declared: frozenset[str] = frozenset()
    alike: Mapping[str, str] = field(default_factory=dict)
    promised: frozenset[str] = frozenset()

    def without_alike(self) -> Known:
        """For a target's fields, which say where hosts are, and for users: one called as a password is no secret."""
        return Known(self.values, self.declared, {}, self.promised)

    def secret(self, name: str) -> SecretPart | None:
        if name in self.declared:
            return SecretPart(name)
        return SecretPart(name, self.alike[name]) if name in self.alike else None


@dataclass(frozen=True)
class Template:
    """A string in parts: literals, references that a lane resolves, and secrets that come in where it runs."""

    parts: tuple[str | Ref | SecretPart, ...]

    @property
    def refs(self) -> tuple[Ref, ...]:
        return tuple(part for part in self.parts if isinstance(part, Ref))

    @property
    def secrets(self) -> tuple[SecretPart, ...]:
        return tuple(part for part in self.parts if isinstance(part, SecretPart))

    def is_secret(self, name: str) -> bool:
        """Whether it is the secret `name` and nothing else."""
        return self.parts == (SecretPart(name),)

    @property
    def text(self) -> str:
        """The string, where nothing is left to resolve.

        Raises:
            BadReference: a place reference is left.
            SecretHere: it is made of a secret.
        """
        return self.resolve(lambda ref: _not_here(ref.name))

    def fill(self, known: Mapping[str, str]) -> Template:
        """The template with those references replaced whose values are `known`; the others stay."""
        parts: list[str | Ref | SecretPart] = []
        for part in self.parts:
            part = known.get(part.name, part) if isinstance(part, Ref) else part
            if isinstance(part, str) and parts and isinstance(parts[-1], str):
                parts[-1] += part
            else:
                parts.append(part)
        return Template(tuple(parts))

    def resolve(self, value: Callable[[Ref], str], secret: Callable[[SecretPart], str] | None = None) -> str:
        """The string, each reference replaced by what `value` says, each secret by what `secret` does.

        Raises:
            SecretHere: it is made of a secret, and `secret` is not given.
        """
        if self.secrets and secret is None:
            raise SecretHere(self.secrets[0])
        texts = (value(part) if isinstance(part, Ref) else part for part in self.parts)
        return "".join(text if isinstance(text, str) else secret(text) if secret else "" for text in texts)


def parse(text: str, environment: Mapping[str, str] | Known, *, filled: bool = False) -> Template:
    """Parse `text`, replacing environment references but those to secrets.

    Raises:
        MissingVariable: variables without a default are not set.
        EmptyVariable: they are set to nothing, and each has to be `filled`.
        BadReference: a `${…}` names nothing known, or is not closed.
    """
    known = environment if isinstance(environment, Known) else Known(environment)
    parts: list[str | Ref | SecretPart] = []
    missing: list[str] = []
    empty: list[str] = []
    literal = ""
    at = 0
    for match in _TOKEN.finditer(text):
        literal += _plain(text[at : match.start()])
        at = match.end()
        if match["dollar"]:
            literal += "$"
        elif _VARIABLE.fullmatch(match["name"]):
            value = _variable(match["name"], match["default"], known)
            if isinstance(value, SecretPart):
                parts += [literal, value] if literal else [value]
                literal = ""
                continue
            literal += value or ""
            missing += [match["name"]] if value is None and match["name"] not in missing else []
            empty += [match["name"]] if value == "" and match["default"] is None and match["name"] not in empty else []
        else:
            parts += [literal] if literal else []
            parts.append(_reference(match["name"], match["default"]))
            literal = ""
    literal += _plain(text[at:])
    if missing:
        raise MissingVariable(missing)
    if filled and empty:
        raise EmptyVariable(empty)
    if literal or not parts:
        parts.append(literal)
    return Template(tuple(parts))


def references(text: str) -> Iterator[tuple[str, str | None]]:
    """The variables that `text` names, each with the default that it gives."""
    for match in _TOKEN.finditer(text):
        if match["name"] and _VARIABLE.fullmatch(match["name"]):
            yield match["name"], match["default"]


def _plain(text: str) -> str:
    if "${" in text:
        raise BadReference('"${" is not closed by "}"; a literal dollar is written "$$"')
    return text


def _variable(name: str, default: str | None, known: Known) -> str | SecretPart | None:
    # As in a shell, `:-` replaces an empty value too.
    value = known.values.get(name)
    if default is not None and not value and name not in known.promised:
        return default
    return known.secret(name) or value


def _reference(name: str, default: str | None) -> Ref:
    if not _PLACE.fullmatch(name):
        expected = ", ".join(
            f"${{{place}}}"
            for place in ("VARIABLE", *_PLACES, "services.NAME.port", "services.NAME.host", "secret_files.NAME")
        )
        raise BadReference(
            f"${{{name}}} means nothing. {did_you_mean(name, _PLACES) or f'Expected one of {expected}.'} "
            "A literal dollar is written $$."
        )
    if default is not None:
        raise BadReference(f"${{{name}}} has no default: it always has a value. Write ${{{name}}}.")
    return Ref(name)


def _not_here(name: str) -> str:
    raise BadReference(f"${{{name}}} can't stand here: it is known only where a service runs (command, env, check)")
