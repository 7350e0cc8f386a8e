"""A page as all who look at it see it: what is made once, and who is sent what."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Hashable
from typing import Any

import pytest

from provision.page.live import Live, Part


class Counting:
    """A view of some parts, that counts how often they are made."""

    every = 0.01

    def __init__(self) -> None:
        self.html = {"a": "one", "b": "two"}
        self.made = 0

    def mark(self) -> Hashable:
        return tuple(self.html.items())

    def parts(self) -> list[Part]:
        self.made += 1
        return [Part("all", id_, html) for id_, html in self.html.items()]


@pytest.fixture
def view() -> Counting:
    return Counting()


async def _next(live: Live, since: str) -> dict[str, Any]:
    async for message in live.messages(since):
        return message
    raise AssertionError


async def test_who_has_a_version_is_sent_what_came_after_and_nothing_else(view: Counting) -> None:
    live = Live(view)
    await live.refresh()
    has = f"{live.boot}-{live.version}"
    view.html["b"] = "three"
    await live.refresh()
    assert (await _next(live, has))["html"] == {"b": "three"}


async def test_who_has_nothing_or_a_version_of_another_run_is_sent_all(view: Counting) -> None:
    live = Live(view)
    await live.refresh()
    for since in ("", "cafe-1", f"{live.boot}-x"):
        message = await _next(live, since)
        assert message["html"] == view.html
        assert message["order"] == {"all": ["a", "b"]}


async def test_what_is_gone_is_told_by_the_order(view: Counting) -> None:
    live = Live(view)
    await live.refresh()
    has = f"{live.boot}-{live.version}"
    del view.html["a"]
    await live.refresh()
    message = await _next(live, has)
    assert (message["html"], message["order"]) == ({}, {"all": ["b"]})


async def test_fifty_who_look_cost_what_one_costs(view: Counting) -> None:
    live = Live(view)
    await live.refresh()
    keeping = asyncio.create_task(live.keep())
    has = f"{live.boot}-{live.version}"
    waiting = [asyncio.create_task(_next(live, has)) for _ in range(50)]
    await asyncio.sleep(0.05)
    view.html["a"] = "four"
    messages = await asyncio.wait_for(asyncio.gather(*waiting), 5)
    keeping.cancel()
    assert [message["html"] for message in messages] == [{"a": "four"}] * 50
    assert view.made == 2


async def test_a_page_that_waited_for_a_processor_is_made_as_soon_again(
    view: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parts() -> list[Part]:
        time.sleep(0.1)  # which takes none
        view.html["a"] += "."
        return Counting.parts(view)

    monkeypatch.setattr(view, "parts", parts)
    keeping = asyncio.create_task(Live(view).keep())
    await asyncio.sleep(1)
    keeping.cancel()
    assert view.made > 3  # of nine
