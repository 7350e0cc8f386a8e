"""The provider's own books, held against what is known and said of money on our side.

Each test with a provider ends so (`conftest.market`), whatever befell it: no machine is left that nobody knows of, and
what is counted for those that are no more is what they have cost, to a billionth of a dollar. A test whose commands say
what was spent holds that against the books as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from provision.targets.machines import Machines
    from tests.providers.conftest import Rental
    from tests.providers.laptop import Laptop

_EXACT = 1e-9  # dollars


@dataclass(frozen=True)
class Known:
    """What is known on our side: machines that cost on, and by its number what each has cost that is no more."""

    alive: list[int]
    ended: Mapping[int, float]


@dataclass(frozen=True)
class Told:
    """What was said of a machine when it was given back: the most that it can have cost, and what was charged."""

    machine: int
    cost: float
    charged: float | None


def of_target(machines: Machines) -> Known:
    """What a target's next command knows."""
    alive = [each.id for each in (*machines.rented(), *machines.rented_beyond())]
    ended = machines.ended()
    assert ended is not None
    return Known(alive, ended)


def of_laptop(laptop: Laptop) -> Known:
    """What `deploy machine list` says there."""
    (told,) = laptop.events("machine", "list")
    return Known(
        [each["id"] for each in told["machines"]], {int(number): cost for number, cost in told["ended"].items()}
    )


def of_account(rental: Rental) -> Known:
    """What whoever has the account's key can find out, for any project; a machine without a label is nobody's."""
    alive = [each.id for each in rental.vast.machines() if each.label]
    paid = rental.vast.paid("", 0.0)
    return Known(alive, {number: cost for number, cost in paid.items() if number not in alive})


def told(events: Iterable[Mapping[str, Any]]) -> list[Told]:
    """What `destroy`, `reap` or `watch` said of each that it gave back."""
    return [
        Told(each["machine"], each["cost"], each["charged"]) for each in events if each.get("outcome") == "destroyed"
    ]


def agree(rental: Rental, ours: Known, said: Iterable[Told] = ()) -> None:
    """No machine is unknown, none is known that is no more, and every sum is exact.

    Args:
        ours: found just now.
        said: of those that were given back.
    """
    books = rental.known()
    ended = {each["id"]: each["cost"] for each in books["machines"] if each["ended"]}
    assert sorted(ours.alive) == sorted(each["id"] for each in books["machines"] if not each["ended"])
    assert dict(ours.ended) == pytest.approx(ended, abs=_EXACT)
    credit = rental.vast.credit()
    assert credit is not None
    # Those that are still there cost on while they are asked for.
    before, after = (
        sum(each["cost"] for each in known["machines"] if not each["ended"]) for known in (books, rental.known())
    )
    assert before - _EXACT <= books["credit"] - sum(ended.values()) - credit <= after + _EXACT
    for each in said:
        assert each.charged == pytest.approx(ended[each.machine], abs=_EXACT)
        assert ended[each.machine] <= each.cost + 0.005, "what is said at first is the most; it is a moment older"
