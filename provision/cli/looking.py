"""Verbs that look again and again: their options, how they wait, and how they show what each look gives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from provision.cli.session import Session

_AWAKE_SECONDS = 0.2

_Verb = TypeVar("_Verb", bound=Callable[..., Any])
_Seen = TypeVar("_Seen")


def again(default: float) -> Callable[[_Verb], _Verb]:
    """The options `--watch` and `--every`.

    Args:
        default: seconds between two looks.
    """
    every = click.option(
        "--every",
        type=click.FloatRange(1.0, 3600.0),
        default=default,
        show_default=True,
        metavar="SECONDS",
        help="With --watch: how long to wait between two looks.",
    )
    watch = click.option("-w", "--watch", is_flag=True, help="Look again and again, until Ctrl-C.")
    return lambda command: watch(every(command))


def wait(seconds: float) -> None:
    """Awake now and then: Ctrl-C may come to another thread, and is acted on here."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _AWAKE_SECONDS))


def show(
    session: Session,
    look: Callable[[], Sequence[_Seen]],
    event: Callable[[_Seen], dict[str, Any]],
    lines: Callable[[_Seen], Iterable[str]],
    every: float | None,
) -> Sequence[_Seen]:
    """Look, and show what that gives, for programs or for people; what was seen last.

    Args:
        every: seconds between two looks, until Ctrl-C; None for one look.
    """
    with session.console.live():
        found = look()
    if every is None:
        for item in found:
            session.console.answer(event(item), lines(item))
        return found
    try:
        with session.console.redrawn() as draw:
            while True:
                if session.console.as_json:
                    for item in found:
                        session.console.answer({**event(item), "time": int(time.time())})
                else:
                    draw("\n".join(line for item in found for line in lines(item)))
                wait(every)
                found = look()
    except KeyboardInterrupt:  # which is how one ends it
        return found
