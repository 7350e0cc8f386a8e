"""Fields that a cluster's kinds have not, and values of another type, as its OpenAPI document says.

Our own templates have none, as tests ask of an API server; one of a project's own may. The models that lightkube has
generated of that document are asked; kinds that are not Kubernetes' own are nobody's here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from provision.manifests.kubernetes.objects import Object
from provision.project.fault import did_you_mean

# What a value may be, and what one that is not is said not to be. A text may be a quantity, which may be a number.
_PLAIN: dict[str, tuple[tuple[type, ...], str]] = {
    "BoolType": ((bool,), "neither true nor false"),
    "IntType": ((int,), "no whole number"),
    "FloatType": ((int, float), "no number"),
    "StrType": ((str, int, float), "no text"),
}


def misfits(each: Object) -> Iterator[str]:
    """What of an object its kind does not have, or not so."""
    shape = _shape(str(each.body.get("apiVersion", "")), each.kind)
    if shape is not None:
        yield from _misfits(each.body, shape, "")


@cache
def _shape(version: str, kind: str) -> Any:
    from msgspec import inspect

    group, _, short = version.rpartition("/")
    try:
        models = import_module(f"lightkube.models.{group.partition('.')[0] or 'core'}_{short}")
        return inspect.type_info(getattr(models, kind))
    except (ImportError, AttributeError):  # it is not served, or somebody else's: another rule says so
        return None


def _misfits(value: Any, shape: Any, path: str) -> Iterator[str]:
    """By what msgspec's inspection calls the types."""
    called = type(shape).__name__
    if called == "UnionType":
        if value is not None:
            variants = [each for each in shape.types if type(each).__name__ != "NoneType"]
            yield from min((list(_misfits(value, each, path)) for each in variants), key=len)
    elif called in ("StructType", "DictType"):
        yield from _in_mapping(value, shape, path)
    elif called == "ListType":
        if isinstance(value, list):
            for index, inner in enumerate(value):
                yield from _misfits(inner, shape.item_type, f"{path}[{index}]")
        else:
            yield f"{path}: {_told(value)} is no list"
    elif called in _PLAIN:
        types, said = _PLAIN[called]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            yield f"{path}: {_told(value)} is {said}"


def _in_mapping(value: Any, shape: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: {_told(value)} is no mapping"
        return
    fields = {field.encode_name: field.type for field in getattr(shape, "fields", ())}
    for key, inner in value.items():
        place = f"{path}.{key}" if path else str(key)
        if fields and key not in fields:
            yield f"{place}: there is no such field. {did_you_mean(str(key), fields)}".rstrip()
        else:
            yield from _misfits(inner, fields[key] if fields else shape.value_type, place)


def _told(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
