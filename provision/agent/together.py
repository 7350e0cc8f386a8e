"""The same for many: done side by side, with a bound, and asked in one question.

What is asked of a supervisor or of the kernel costs about as much for all programs as for one. So threads that look
after a program each share what they ask: a thousand programs cost a thousand times what one does, and not a million.
"""

from __future__ import annotations

import threading
from typing import Callable, Dict, Generic, Iterable, List, Optional, Sequence, TypeVar

AT_ONCE = 16  # of what takes processors: they are what starts needs as well
WATCHED = 64  # of what waits for an answer that it shares
_AWAKE_SECONDS = 0.2

Item = TypeVar("Item")
Name = TypeVar("Name")
Found = TypeVar("Found")


def side_by_side(work: Callable[[Item], object], items: Iterable[Item], at_once: int = AT_ONCE) -> None:
    """Do it for each, so many at a time; where some fail, raise what the first of them does, once all have ended."""
    from concurrent.futures import ThreadPoolExecutor, wait  # which cost a host that only looks the time to read them

    with ThreadPoolExecutor(max_workers=at_once) as pool:
        futures = [pool.submit(work, item) for item in items]
        # The kernel may hand a signal to one of these threads, which wakes nobody; Python acts on it here, if awake.
        while wait(futures, _AWAKE_SECONDS).not_done:
            pass
    for future in futures:
        future.result()


class Together(Generic[Name, Found]):
    """A question that many threads ask, each about one name; who waits meanwhile is asked for in one.

    No answer is older than its question.

    Args:
        ask: called by one thread at a time.
    """

    def __init__(self, ask: Callable[[Sequence[Name]], Dict[Name, Found]]) -> None:
        self._ask = ask
        self._turn = threading.Lock()
        self._waiting: Dict[Name, List[_Asked[Found]]] = {}
        self._noting = threading.Lock()

    def __call__(self, name: Name) -> Found:
        """What is so now; raises what the question raises."""
        asked: _Asked[Found] = _Asked()
        with self._noting:
            self._waiting.setdefault(name, []).append(asked)
        with self._turn:
            if not asked.found and asked.failed is None:
                with self._noting:
                    waiting, self._waiting = self._waiting, {}
                self._answer(waiting)
        if asked.failed is not None:
            raise asked.failed
        return asked.found[0]

    def _answer(self, waiting: Dict[Name, List[_Asked[Found]]]) -> None:
        everybody = [(name, each) for name, asked in waiting.items() for each in asked]
        try:
            found = self._ask(list(waiting))
        except BaseException as error:
            for _, each in everybody:
                each.failed = error
        else:
            for name, each in everybody:
                each.found.append(found[name])


class _Asked(Generic[Found]):
    def __init__(self) -> None:
        self.found: List[Found] = []
        self.failed: Optional[BaseException] = None
