"""Random stories: whatever befalls the calls, no machine is rented twice, none is left that nobody knows of, and each
cent is known.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from provision.errors import DeployError
from provision.providers.face import Needs, Order
from provision.providers.renting import Budget, Renter, of_place, place
from tests.providers.books import agree, of_account
from tests.providers.conftest import CLOCK, Rental, offer

_FAULTS = [None, None, None, "drop", "drop after", "429", "429 after", "500", "500 after", "no json"]
_RENT_FAULTS = [*_FAULTS, "no success", {"late": 30}, {"late": 70}]
_BOOTS: list[dict[str, Any]] = [
    {"start": 20},
    {"start": 20},
    {"start": 20},
    {"fatal": "OCI runtime create failed"},
    {"becomes": "offline"},
    {"start": 400, "outbid_after": 30},
    {"on_demand": True},
]
_LABEL = place("cres", "gpu", 1)
_SLOW = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 300)]


class _Cut(BaseException):
    """The laptop's end, in the middle of anything."""


@pytest.mark.parametrize("seed", [*range(6), *_SLOW])
def test_a_story(seed: int, market: Callable[..., Rental]) -> None:
    dice = random.Random(seed)
    offers = [offer(number) for number in range(1, 40)]
    rental = market(offers, *(dice.choice(_BOOTS) for _ in range(40)))
    budget = Budget(per_hour=1.0, total=1000.0, seconds=3600)
    bid = dice.choice([None, 0.8])
    kind = "interruptible" if bid else "on-demand"

    for _ in range(dice.randint(1, 3)):
        faults = {name: [dice.choice(_FAULTS) for _ in range(6)] for name in ("list", "show", "destroy", "search")}
        rental.fail(rent=[dice.choice(_RENT_FAULTS) for _ in range(4)], **faults)
        events = 0
        cut_at = dice.choice([None, None, dice.randint(1, 6)])

        def tell(_: dict[str, Any], cut_at: int | None = cut_at) -> None:
            nonlocal events
            events += 1
            if events == cut_at:
                raise _Cut

        renter = Renter(rental.vast, tell, CLOCK)
        try:
            found = rental.vast.offers(Needs(kind=kind))  # type: ignore[arg-type]
            machine = renter.rent(found, Order(f"{_LABEL} x", "app", 1, bid=bid), budget, [])
            renter.wait(machine)
        except (DeployError, _Cut):
            continue

    # What is still on its way takes effect by now; then the next command finds whatever there is.
    time.sleep(0.5)
    rental.fail()
    renter = Renter(rental.vast, lambda _: None, CLOCK)
    known = of_place(rental.vast.machines(), _LABEL)
    assert sorted(each.id for each in known) == sorted(rental.alive)
    for each in known:
        renter.give_back(each)
    assert rental.alive == []
    agree(rental, of_account(rental))
