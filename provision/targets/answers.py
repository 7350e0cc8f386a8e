"""What a host sends, parsed once, into the types that both sides know."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

from provision.contract import events

Fits = Callable[[Any], bool]
A = TypeVar("A")

Told = events.Event | events.Alive | events.NeedAgent | events.ErrorMessage


class Misfit(Exception):
    """The host said something else."""


def answer(message: object, expected: type[A]) -> A:
    """`message`, which fits what is expected.

    Raises:
        Misfit: it does not.
    """
    if not fits(cast(Any, expected))(message):
        raise Misfit
    return cast(A, message)


@cache
def fits(expected: Any) -> Fits:
    """Whether a JSON value is of a type of `provision.contract`. Keys that it does not name may come too."""
    if is_typeddict(expected):
        return _dictionary(expected)
    if expected in (Any, object):
        return lambda _: True
    if expected is float:
        return lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(expected, type) and get_origin(expected) is None:
        return lambda value: type(value) is expected
    arguments = get_args(expected)
    match get_origin(expected):
        case origin if origin in (Union, types.UnionType):
            some = [fits(each) for each in arguments]
            return lambda value: any(one(value) for one in some)
        case origin if origin is Literal:
            return lambda value: value in arguments
        case origin if origin is dict:
            inner = fits(arguments[1])
            return lambda value: isinstance(value, dict) and all(map(inner, value.values()))
        case origin if origin is list:
            inner = fits(arguments[0])
            return lambda value: isinstance(value, list) and all(map(inner, value))
        case origin if origin is tuple:
            parts = [fits(each) for each in arguments]
            return lambda value: (
                isinstance(value, list)
                and len(value) == len(parts)
                and all(part(each) for part, each in zip(parts, value, strict=True))
            )
    raise TypeError(f"{expected} is no type of JSON")  # in the contract, not in what a host said


def _dictionary(expected: Any) -> Fits:
    keys = {name: fits(hint) for name, hint in get_type_hints(expected).items()}
    required: frozenset[str] = expected.__required_keys__

    def is_one(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and required <= value.keys()
            and all(name not in value or fit(value[name]) for name, fit in keys.items())
        )

    return is_one
