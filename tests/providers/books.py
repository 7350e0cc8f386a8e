"""The provider's own books, held against what is said of money."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from provision.targets.machines import Machines
from tests.providers.conftest import Rental

CREDIT = 25.0  # what an account of the stand-in begins with


def agree(machines: Machines, rental: Rental, told: Iterable[tuple[int, float, float | None]] = ()) -> None:
    """No machine is unknown, and what is counted for those that are no more is what they have cost, exactly.

    Args:
        told: the number, the cost and the charge of each that was told as given back.
    """
    known = rental.known()["machines"]
    ended = {each["id"]: each["cost"] for each in known if each["ended"]}
    assert {each.id for each in (*machines.rented(), *machines.rented_beyond())} == {*rental.alive}
    paid = machines.provider.paid("deploy/cres/gpu/", 0.0)
    assert {number: paid[number] for number in ended} == pytest.approx(ended, abs=1e-9)
    credit = machines.provider.credit()
    assert credit is not None
    before, after = (
        sum(each["cost"] for each in found if not each["ended"]) for found in (known, rental.known()["machines"])
    )
    assert before - 1e-9 <= CREDIT - sum(ended.values()) - credit <= after + 1e-9
    for number, cost, charged in told:
        assert charged == pytest.approx(ended[number], abs=1e-9)
        assert ended[number] <= cost + 0.005, "what is said at first is the most; it is a moment older"
