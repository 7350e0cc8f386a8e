"""Rules about checks: of one kind each, and something to probe."""

from __future__ import annotations

from collections.abc import Iterator

from provision.project.checks import KINDS, Check
from provision.project.fault import Fault, Path
from provision.project.rules.view import Sound, service_checks


def _kinds(view: Sound) -> Iterator[Fault]:
    for path, check, has_port in _all(view):
        kinds = check.kinds
        if not kinds:
            hint = 'Such as check = { http = "/health" }.'
            yield Fault(path, f"nothing is probed; expected one of {', '.join(KINDS)}.", hint)
        elif len(kinds) > 1:
            listed = " and ".join(kind.name for kind in kinds)
            yield Fault(path, f"{listed} are given; a check has one probe.", "Use several: checks = [{…}, {…}].")
        else:
            yield from kinds[0].faults(path, check, has_port)


def _tokens(view: Sound) -> Iterator[Fault]:
    for path, check, has_port in _all(view):
        if check.token is None:
            continue
        if has_port is None:
            hint = "Move the check to that service."
            yield Fault((*path, "token"), "a secret belongs to a service, and this check to the project.", hint)
        elif not any(kind.sends_token for kind in check.kinds):
            senders = " and ".join(kind.name for kind in KINDS.values() if kind.sends_token)
            yield Fault((*path, "token"), f"only {senders} send one.", "Remove it.", at_key=True)


def _keys(view: Sound) -> Iterator[Fault]:
    for path, check, _ in _all(view):
        if len(check.kinds) != 1:
            continue
        kind = check.kinds[0]
        for key in Check.model_fields:
            readers = [each.name for each in KINDS.values() if key in each.keys]
            if readers and kind.name not in readers and key in check.model_fields_set:
                message = f"{kind.name} does not read it, {' and '.join(readers)} alone."
                yield Fault((*path, key), message, "Remove it.", at_key=True)


def _all(view: Sound) -> Iterator[tuple[Path, Check, bool | None]]:
    for name, service in view.services.items():
        for path, check in service_checks(name, service):
            yield path, check, service.port is not None
    for name, check in view.checks.items():
        yield ("checks", name), check, None


RULES = (_kinds, _tokens, _keys)
