"""Which variables are secrets: those that anything in the file declares as one, and others with the very value of one.

Asked before anything is judged, of the file as it is written: a secret of a service that this target does not run is
still a secret, and so is one of a service that has a mistake elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from provision.project.suspects import SHAPE

# A shorter value ("dev", "postgres") may be shared by chance, and is nobody's secret for that, unless a key looks so.
_LEAST_ALIKE = 16


def declared(written: Mapping[str, Any]) -> frozenset[str]:
    """The variables that `written`, presets applied, calls secrets."""
    return frozenset(name for name in _declared(written) if isinstance(name, str))


def alike(names: frozenset[str], variables: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
    """Other variables whose value is that of one of `names` -> the one.

    Args:
        values: those of secrets that are no variables, because a command gave them.
    """
    known = {variables[name]: name for name in sorted(names, reverse=True) if name in variables}
    known |= {value: name for name, value in sorted(values.items(), reverse=True)}
    return {
        name: known[value]
        for name, value in variables.items()
        if name not in names and value in known and (len(value) >= _LEAST_ALIKE or SHAPE.search(value))
    }


def _declared(written: Mapping[str, Any]) -> Iterator[object]:
    yield from _table(written.get("secrets"))
    for step in ("prepare", "python"):
        yield from _list(_table(written.get(step)).get("secrets"))
    for service in map(_table, _table(written.get("services")).values()):
        for key in ("secrets", "secret_files"):
            yield from _list(service.get(key))
        yield from _table(service.get("secret_args"))
        for asked in (service.get("check"), *_list(service.get("checks")), service.get("warm"), service.get("metrics")):
            yield _table(asked).get("token")
    for check in _table(written.get("checks")).values():
        yield _table(check).get("token")


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
