"""What a target's machines may still cost, and when they may run.

Every machine has its share of the budget, which its label says and its guard holds. Shares and what machines have cost
that are no more are budget.total at most, whoever grants them, from wherever.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING

from provision.errors import Refused
from provision.providers.face import Machine, Provider, State
from provision.providers.renting import fair_share, place
from provision.targets.labels import Label

if TYPE_CHECKING:
    from provision.project.renting import Budget
    from provision.project.schema import Project

_REMEMBERED = 30 * 86400.0  # seconds for which what machines have cost counts that are no more


class Allowance:
    """That of one target."""

    def __init__(self, project: Project, target: str, provider: Provider) -> None:
        self._name = target
        self._target = project.targets[target]
        self._every = place(project.name, target, 0)[:-1]
        self._provider = provider
        self._lost: dict[int, float] = {}  # dollars, by the number of a machine that was no good

    def share(self, others: Sequence[Machine], gone: float) -> float:
        """What a machine of the target may cost, or one more.

        Args:
            others: those of its other places.
            gone: what those have cost that are no more; what lost ones may cost counts with it.
        """
        now = self._provider.now()
        known = [(each, label) for each in others if (label := Label.read(each.label))]
        granted = [label.granted(each, now) for each, label in known if not label.is_lost(each)]
        gone += sum(label.granted(each, now) for each, label in known if label.is_lost(each))
        return fair_share(self._budget.total, max(self._target.machines, len(granted) + 1), granted, gone)

    def ended(self, there: Sequence[Machine]) -> dict[int, float]:
        """What each machine was charged for, by its number, that the target had of late and that is no more."""
        paid = self._provider.paid(self._every, self._provider.now() - _REMEMBERED)
        known = {each.id for each in there}
        return {number: cost for number, cost in paid.items() if number not in known}

    def gone(self, there: Sequence[Machine]) -> float:
        """The sum of that; of one that was given back just now, what it has cost where less is charged yet."""
        ended, known = self.ended(there), {each.id for each in there}
        lost = {number: cost for number, cost in self._lost.items() if number not in known}
        return sum(max(ended.get(number, 0.0), lost.get(number, 0.0)) for number in {*ended, *lost})

    def lose(self, machine: Machine) -> None:
        """Count what a machine has cost that is given back now, until the provider charges it."""
        self._lost[machine.id] = machine.cost(self._provider.now())

    def renewed(self, machine: Machine, others: Sequence[Machine], seconds: float | None) -> tuple[Label, Label]:
        """A machine's label, and the one with which it goes on for `seconds` or budget.until.

        Raises:
            Refused: the budget does not allow it, or the machine has no guard that could be told.
        """
        now, seconds = self._provider.now(), seconds or self._budget.until
        label = Label.read(machine.label)
        if label is None or label.share is None or not label.place.startswith(self._every):
            raise Refused(
                f"machine {machine.id} has no guard that could be told.",
                why="An earlier version rented it." if label else f"It was not rented for targets.{self._name}.",
                next_step=f"deploy machine show {machine.id}",
            )
        if machine.state is not State.RUNNING:
            raise Refused(
                f"machine {machine.id} does not run ({machine.state}): its guard can't be told.",
                next_step="deploy machine rent, which starts it again where it can",
            )
        share, so_far = self.share(others, self.gone([machine, *others])), machine.cost(now)
        if so_far + machine.per_hour * seconds / 3600 > share:
            raise Refused(
                f"{seconds / 3600:.1f} h of ${machine.per_hour:.3f}, and ${so_far:.2f} so far, are more than "
                f"${share:.2f}, which is left of budget.total for this machine.",
                next_step="deploy machine renew --for 1h, or raise budget.total",
            )
        return label, Label(label.place, label.nonce, now + seconds, share)

    def demand_hours(self) -> None:
        """Refuse to let a machine run that would stop itself.

        Raises:
            Refused: budget.hours says so.
        """
        hours, now = self._budget.hours, self._provider.now()
        if hours is None or any(begin <= now for begin, _ in hours.windows(now, now + 1)):
            return
        coming = next((begin for begin, _ in hours.windows(now, now + 8 * 86400)), now)
        at = dt.datetime.fromtimestamp(coming, hours.clock)
        raise Refused(
            f"targets.{self._name} is not wanted at this hour: budget.hours is {hours.text}.",
            why="A machine that ran now would stop itself.",
            next_step=f"deploy machine rent, from {at:%a %H:%M} on; or change budget.hours",
        )

    @property
    def _budget(self) -> Budget:
        assert self._target.budget  # noqa: S101  (a target with a provider has one, or is refused)
        return self._target.budget
