"""Jinja templates that cannot print a value without an encoder.

As with autoescape in HTML, but the other way round: nothing is escaped silently, because the right encoder depends
on the place; instead, printing anything that no encoder of this format made is an error with file and line. A project
replaces a template by a file of the same name under its own `templates/`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import jinja2
import jinja2.compiler
import jinja2.nodes

import provision
from provision.errors import DeclarationError, Location, Problem
from provision.manifests.encoders import ENCODERS, ENV_ENCODERS
from provision.manifests.value import Encoded, Format, Value, Variable

_T = TypeVar("_T")


class _Writer(jinja2.compiler.CodeGenerator):
    """Refuses the one construct whose output `finalize` does not see."""

    def visit_FilterBlock(self, node: jinja2.nodes.FilterBlock, _frame: object) -> None:  # noqa: N802 (Jinja's name)
        self.fail("a filter block would change encoded text: put the filter behind a value", node.lineno)


class _Environment(jinja2.Environment):
    code_generator_class = _Writer


class UnencodedOutput(Exception):
    """A template prints something that no encoder of its format made."""


def render(template: str, overrides: Path | None, **context: object) -> str:
    """The text of `template`, such as `systemd/service.j2`, taken from `overrides` where that folder has it.

    Raises:
        DeclarationError: the template is wrong; says where.
        UnencodableValue: the format cannot hold a value.
    """
    format_ = Format(template.partition("/")[0])
    environment = _environment(format_, overrides)
    try:
        return environment.get_template(template).render(context)
    except jinja2.TemplateSyntaxError as error:
        file = error.filename or error.name or template
        raise _problem(file, error.lineno, error.message or "not a valid template") from None
    except (jinja2.TemplateError, UnencodedOutput, TypeError) as error:
        # Jinja rewrites tracebacks so that their frames name the template's file and line.
        file, line = _last_template_line(error.__traceback__) or (template, 0)
        raise _problem(file, line, str(error)) from None


@cache
def packaged() -> Path:
    """The folder of our own templates: inside an installed package, or beside it in a checkout."""
    package = Path(provision.__file__).parent
    inside = package / "templates"
    return inside if inside.is_dir() else package.parent / "templates"


@lru_cache(maxsize=16)
def _environment(format_: Format, overrides: Path | None) -> jinja2.Environment:
    # Without autoescape, which knows HTML alone; `finalize` guards these formats.
    environment = _Environment(
        loader=jinja2.FunctionLoader(lambda name: _load(name, overrides)),
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: _encoded(value, format_),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for encode in ENCODERS[format_]:
        environment.filters[encode.__name__] = _filter(encode, _value, format_)
    for encode_variable in ENV_ENCODERS[format_]:
        environment.filters[encode_variable.__name__] = _filter(encode_variable, _variable, format_)
    return environment


def _load(name: str, overrides: Path | None) -> tuple[str, str, Callable[[], bool]] | None:
    file = _find(name, overrides)
    if file is None:
        return None
    mark = _mark(file)

    def is_current() -> bool:
        # Not FileSystemLoader's rule, which would not see that the project has one of its own by now.
        return _find(name, overrides) == file and _mark(file) == mark

    return file.read_text(encoding="utf-8"), os.fspath(file), is_current


def _mark(file: Path) -> tuple[int, ...]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _find(name: str, overrides: Path | None) -> Path | None:
    places = (folder / name for folder in (overrides, packaged()) if folder)
    return next((place for place in places if place.is_file()), None)


def _filter(
    encode: Callable[[_T], str], accept: Callable[[object], _T], format_: Format
) -> Callable[[object], Encoded]:
    def encoded(given: object) -> Encoded:
        return Encoded(encode(accept(given)), format_)

    # The same few names stand in a thousand places of a large project.
    remembered = lru_cache(maxsize=4096)(encoded)
    return lambda given: remembered(given) if type(given) is str else encoded(given)


def _encoded(value: object, format_: Format) -> str:
    if isinstance(value, Encoded) and value.reader is format_:
        return value
    if isinstance(value, jinja2.Undefined):
        return str(value)  # StrictUndefined raises here, and says what is missing
    known = ", ".join(f"| {encode.__name__}" for encode in (*ENCODERS[format_], *ENV_ENCODERS[format_]))
    raise UnencodedOutput(f"this prints a value without an encoder: add one of {known}")


def _value(given: object) -> Value:
    if isinstance(given, Value):
        return given
    if isinstance(given, jinja2.Undefined):
        given = str(given)
    if isinstance(given, str | int | float) and not isinstance(given, bool):
        return Value("a value in a template", (str(given),))
    raise TypeError(f"an encoder takes a value, a text or a number, not a {type(given).__name__}")


def _variable(given: object) -> Variable:
    if isinstance(given, Variable):
        return given
    raise TypeError(f"this encoder takes an environment variable, not a {type(given).__name__}")


def _last_template_line(traceback: TracebackType | None) -> tuple[str, int] | None:
    found = None
    while traceback:
        if traceback.tb_frame.f_code.co_filename.endswith(".j2"):
            found = traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
        traceback = traceback.tb_next
    return found


def _problem(file: str, line: int, message: str) -> DeclarationError:
    return DeclarationError([Problem(Location(file, line), key="", message=message)])
