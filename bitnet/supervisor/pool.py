"""Resources that running jobs hold."""

from __future__ import annotations

import math
from collections.abc import Mapping

from bitnet.errors import InvalidInput, ResourcesImpossible

ROUNDING = 1e-9
"""Shares such as 0.1 do not add up exactly in binary; a difference this small is none."""


class Pool:
    """So much of each resource, taken and given back.

    Raises:
        InvalidInput: a limit is not a positive number.
    """

    def __init__(self, limits: Mapping[str, float]) -> None:
        self.limits = {name: _amount(name, limit) for name, limit in limits.items()}
        self.free = dict(self.limits)
        self._holders = dict.fromkeys(limits, 0)

    def check(self, needs: Mapping[str, float]) -> None:
        """Refuse at once what could never be had.

        Raises:
            InvalidInput: an amount is not a positive number.
            ResourcesImpossible: more than the whole pool.
        """
        for name, amount in needs.items():
            _amount(name, amount)
        if any(amount > self.limits.get(name, 0.0) for name, amount in needs.items()):
            raise ResourcesImpossible(needs, self.limits)

    def take(self, needs: Mapping[str, float]) -> None:
        """Take what was found to fit."""
        for name, amount in needs.items():
            self.free[name] -= amount
            self._holders[name] += 1

    def give_back(self, needs: Mapping[str, float]) -> None:
        """Give back what was taken."""
        for name, amount in needs.items():
            self._holders[name] -= 1
            # Exactly full again when nobody holds any, so that rounding never adds up.
            self.free[name] = self.free[name] + amount if self._holders[name] else self.limits[name]


def lacking(needs: Mapping[str, float], spare: Mapping[str, float]) -> list[str]:
    """The resources of which `needs` wants more than is spare."""
    return [name for name, amount in needs.items() if amount > spare[name] + ROUNDING]


def _amount(name: str, amount: float) -> float:
    if not (math.isfinite(amount) and amount > 0):
        raise InvalidInput(f"resource {name!r}: {amount!r} is not a positive number")
    return float(amount)
