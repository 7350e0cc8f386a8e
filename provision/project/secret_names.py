"""Which variables are secrets: those that anything in the file declares as one, and others with the very value of one.

Asked before anything is judged, of the file as it is written: a secret of a service that this target does not run is
still a secret, and so is one of a service that has a mistake elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from provision.project.fault import Path
from provision.project.suspects import SHAPE
from provision.project.template import references

# A shorter value ("dev", "postgres") may be shared by chance, and is nobody's secret for that, unless a key looks so.
_LEAST_ALIKE = 16


def declared(written: Mapping[str, Any]) -> frozenset[str]:
    """The variables that `written`, presets applied, calls secrets."""
    return frozenset(name for _, name in _declared(written) if isinstance(name, str))


def uses(written: Mapping[str, Any]) -> dict[str, list[Path]]:
    """Each secret of `written`, presets applied, with the places that name it, in the order of the file."""
    places: dict[str, list[Path]] = {}
    for path, name in _declared(written):
        if isinstance(name, str) and path[0] != "secrets":
            places.setdefault(name, []).append(path)
    for owner, table in (
        *((("services", name), service) for name, service in _table(written.get("services")).items()),
        (("prepare",), written.get("prepare")),
    ):
        for variable, text in _table(_table(table).get("env")).items():
            for name in dict.fromkeys(name for name, _ in references(text if isinstance(text, str) else "")):
                if name in places:
                    places[name].append((*owner, "env", variable))
    return {name: places.get(name, []) for name in sorted(declared(written))}


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


def _declared(written: Mapping[str, Any]) -> Iterator[tuple[Path, object]]:
    yield from ((("secrets", name), name) for name in _table(written.get("secrets")))
    once: dict[Path, object] = {("once", name): step for name, step in _table(written.get("once")).items()}
    steps: dict[Path, object] = {("prepare",): written.get("prepare"), ("python",): written.get("python"), **once}
    for path, step in steps.items():
        yield from (((*path, "secrets", index), name) for index, name in enumerate(_list(_table(step).get("secrets"))))
    for each, service in _table(written.get("services")).items():
        path = ("services", each)
        for key in ("secrets", "secret_files"):
            yield from (((*path, key, index), name) for index, name in enumerate(_list(_table(service).get(key))))
        yield from (((*path, "secret_args", name), name) for name in _table(_table(service).get("secret_args")))
        for key in ("check", "warm", "metrics"):
            yield (*path, key, "token"), _table(_table(service).get(key)).get("token")
        for index, check in enumerate(_list(_table(service).get("checks"))):
            yield (*path, "checks", index, "token"), _table(check).get("token")
    for each, model in _table(written.get("models")).items():
        yield ("models", each, "token"), _table(model).get("token")
    for each, target in _table(written.get("targets")).items():
        path = ("targets", each, "rollout", "prometheus_token")
        yield path, _table(_table(target).get("rollout")).get("prometheus_token")
    for each, check in _table(written.get("checks")).items():
        yield ("checks", each, "token"), _table(check).get("token")


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
