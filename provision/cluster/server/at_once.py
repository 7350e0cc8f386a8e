"""Several requests side by side, and all that is there of a kind by one request: what a large project needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

from provision.cluster.server.client import Api
from provision.cluster.server.objects import PART_OF, Name, Node, name_of
from provision.cluster.server.unbroken import unbroken
from provision.errors import Refused

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_AT_ONCE = 8  # requests


@contextmanager
def at_once() -> Iterator[ThreadPoolExecutor]:
    """Threads for requests. After it none is under way: also where one has failed, or Ctrl-C came, all have ended."""
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        yield pool
    finally:
        with unbroken() as late:
            pool.shutdown(cancel_futures=True)
        late.demand()


def each_of(pool: ThreadPoolExecutor, work: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """What `work` makes of each, in their order.

    Raises what the first raised that failed; whoever leaves `at_once` with that begins no more.
    """
    begun = [pool.submit(work, item) for item in items]
    ended, _ = wait(begun, return_when=FIRST_EXCEPTION)
    return [each.result() for each in begun if each in ended]


def ours(api: Api, kind: str, applyset: str) -> dict[Name, Node]:
    """All of a kind that is ours; nothing where the account may not list it, as those of earlier versions may not."""
    try:
        nodes, _ = api.list(kind, {PART_OF: applyset})
    except Refused:
        return {}
    return {name_of(node): node for node in nodes}
