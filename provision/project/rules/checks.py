"""Rules about checks: one probe each, and something to probe."""

from __future__ import annotations

import re
from collections.abc import Iterator

from provision.project.fault import Fault, Path
from provision.project.rules.view import View, service_checks
from provision.project.schema import Check
from provision.project.template import Template

_PROBES = ("http", "tcp", "command", "completion")


def _probes(view: View) -> Iterator[Fault]:
    for path, check, has_port in _all(view):
        given = [probe for probe in _PROBES if getattr(check, probe) is not None]
        if not given:
            hint = 'Such as check = { http = "/health" }.'
            yield Fault(path, "nothing is probed; expected one of http, tcp, command, completion.", hint)
        elif len(given) > 1:
            listed = " and ".join(given)
            yield Fault(path, f"{listed} are given; a check has one probe.", "Use several: checks = [{…}, {…}].")
        else:
            yield from _addresses(path, check, has_port)


def _addresses(path: Path, check: Check, has_port: bool | None) -> Iterator[Fault]:
    """`has_port` is None for a project-wide check, which has no service to take a port from."""
    hint = (
        "Add one to the service, such as port = 8000."
        if has_port is False
        else "Write a whole URL: http://127.0.0.1:${services.NAME.port}/…"
    )
    if check.http is not None:
        start = _shape(check.http)
        if start.startswith("/") and not has_port:
            yield Fault((*path, "http"), "a path alone needs a port to ask.", hint)
        elif not re.match(r"/|https?://.", start):
            yield Fault((*path, "http"), 'expected a path such as "/health", or a URL that begins with http://.')
    if check.tcp is not None and not re.fullmatch(r"(\S+:)?(\0|[0-9]{1,5})", _shape(check.tcp)):
        yield Fault((*path, "tcp"), 'expected "${port}", or "host:port".')
    if check.completion is not None and has_port is None:
        yield Fault((*path, "completion"), "a completion is asked of a service.", "Move the check to that service.")
    elif check.completion is not None and not has_port:
        yield Fault(
            (*path, "completion"), "a completion needs a port to ask.", "Add one to the service, such as port = 8000."
        )


def _shape(text: Template) -> str:
    """The text with NUL, which no value can hold, for each reference."""
    return "".join(part if isinstance(part, str) else "\0" for part in text.parts)


def _patterns(view: View) -> Iterator[Fault]:
    for path, check, _ in _all(view):
        patterns: list[tuple[Path, str]] = [((*path, "headers", name), text) for name, text in check.headers.items()]
        if check.body is not None:
            patterns.append(((*path, "body"), check.body))
        for where, pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                yield Fault(where, f"not a regular expression: {error.msg} at character {(error.pos or 0) + 1}.")


def _tokens(view: View) -> Iterator[Fault]:
    for path, check, has_port in _all(view):
        if check.token is None:
            continue
        if has_port is None:
            hint = "Move the check to that service."
            yield Fault((*path, "token"), "a secret belongs to a service, and this check to the project.", hint)
        elif check.http is None and check.completion is None:
            yield Fault((*path, "token"), "only http and completion send one.", "Remove it.", at_key=True)


def _all(view: View) -> Iterator[tuple[Path, Check, bool | None]]:
    for name, service in view.services.items():
        for path, check in service_checks(name, service):
            yield path, check, service.port is not None
    for name, check in view.checks.items():
        yield ("checks", name), check, None


RULES = (_probes, _patterns, _tokens)
