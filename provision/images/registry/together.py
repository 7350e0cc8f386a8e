"""Questions that do not wait for each other's answers: asked at once, they take one round trip."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar, overload

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
_AT_ONCE = 8  # connections to one registry


@overload
def together(first: Callable[[], A], second: Callable[[], B], /) -> tuple[A, B]: ...
@overload
def together(first: Callable[[], A], second: Callable[[], B], third: Callable[[], C], /) -> tuple[A, B, C]: ...
@overload
def together(
    first: Callable[[], A], second: Callable[[], B], third: Callable[[], C], fourth: Callable[[], D], /
) -> tuple[A, B, C, D]: ...
@overload
def together(*asks: Callable[[], A]) -> tuple[A, ...]: ...
def together(*asks: Callable[[], Any]) -> tuple[Any, ...]:
    """The answers, in the order of the questions, once all are there.

    Raises:
        Exception: of the first question, in this order, that has no answer.
    """
    answers: list[Any] = [None] * len(asks)
    failures: dict[int, Exception] = {}

    def run(place: int) -> None:
        try:
            answers[place] = asks[place]()
        except Exception as error:
            failures[place] = error

    for begin in range(0, len(asks), _AT_ONCE):
        here, *others = range(begin, min(begin + _AT_ONCE, len(asks)))
        threads = [threading.Thread(target=run, args=[place], daemon=True) for place in others]
        for thread in threads:
            thread.start()
        run(here)
        for thread in threads:
            thread.join()
        if failures:
            raise failures[min(failures)]
    return tuple(answers)
