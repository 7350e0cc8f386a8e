"""In which order services start: each after those it names in `after`, otherwise as declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provision.project.service import Service


class CyclicOrder(ValueError):
    """Services wait for each other. `cycle` names them, each after the next: `["web", "api", "web"]`."""

    def __init__(self, cycle: list[str]) -> None:
        super().__init__(" waits for ".join(cycle))
        self.cycle = cycle


def start_order(services: Mapping[str, Service]) -> list[str]:
    """The names of `services` in start order. A name in `after` that is not among them is no constraint.

    Raises:
        CyclicOrder: services wait for each other.
    """
    order: list[str] = []
    done: set[str] = set()
    for first in services:
        # Depth first, with a stack of our own: a thousand services in one chain are no recursion error.
        stack: list[tuple[str, list[str]]] = [] if first in done else [(first, list(services[first].after))]
        waiting = {name for name, _ in stack}
        while stack:
            name, left = stack[-1]
            if not left:
                stack.pop()
                waiting.discard(name)
                done.add(name)
                order.append(name)
                continue
            following = left.pop(0)
            if following in waiting:
                path = [entry for entry, _ in stack]
                raise CyclicOrder([*path[path.index(following) :], following])
            if following in services and following not in done:
                stack.append((following, list(services[following].after)))
                waiting.add(following)
    return order
