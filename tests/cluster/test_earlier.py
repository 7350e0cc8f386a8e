"""Which release a rollback without a name brings back."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from provision.cluster.kept.inventory import Begun, Inventory
from provision.cluster.moves import earlier
from provision.errors import Refused

_FIRST, _NOW, _COMING = ("a" * 64, "b" * 64, "c" * 64)


def _of(inventory: Inventory, to: str = "") -> str:
    book = SimpleNamespace(read=lambda: inventory)
    there: Any = SimpleNamespace(book=book, name="k8s", demand_namespace=lambda: True)
    return earlier(there, to)


def _deployed(*ids: str) -> Inventory:
    found = Inventory()
    for id_ in ids:
        found = replace(found, channels={"stable": id_}).ended("up", "stable", "committed", "ann")
    return found


def _cut_short(channel: str) -> Inventory:
    return replace(_deployed(_FIRST, _NOW), begun=Begun("up", channel, _COMING, "ann", 0.0))


def _degraded(channel: str) -> Inventory:
    return replace(_deployed(_FIRST, _NOW), degraded="why").ended("up", channel, "degraded", "ann", "why")


# What the cluster knows; the release that comes back.
CASES: dict[str, tuple[Inventory, str]] = {
    "all is well": (_deployed(_FIRST, _NOW), _FIRST),
    "it was cut short": (_cut_short("stable"), _NOW),
    "a canary was cut short": (_cut_short("canary"), _FIRST),
    "it is degraded": (_degraded("stable"), _NOW),
    "a canary is degraded": (_degraded("canary"), _FIRST),
    "it was cut short, the second ever": (
        replace(_deployed(_NOW), begun=Begun("up", "stable", _COMING, "ann", 0.0)),
        _NOW,
    ),
}


@pytest.mark.parametrize("what", CASES)
def test_of_what_was_cut_short_or_is_degraded_it_is_the_one_that_was_stable(what: str) -> None:
    inventory, comes = CASES[what]

    assert _of(inventory) == comes
    assert _of(inventory, "aaaa" if comes == _FIRST else "bbbb") == comes


def test_before_the_first_there_is_none() -> None:
    with pytest.raises(Refused, match="there is no release before this one"):
        _of(_deployed(_NOW))
