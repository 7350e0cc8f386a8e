"""Which rented machine is in which place of a target, by the labels that the provider keeps.

A place is a number from 1 on. A machine that lost its place to another says so in its label, and one that was rented
when the target had more places has a number that there is no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.providers.renting import of_place, place
from provision.targets.labels import GIVEN_UP

if TYPE_CHECKING:
    from provision.project.schema import Project
    from provision.providers.face import Machine, Provider


class Places:
    """Those of one target."""

    def __init__(self, project: Project, target: str, provider: Provider) -> None:
        self._project = project.name
        self._target = target
        self._count = project.targets[target].machines
        self._provider = provider
        self._known: list[Machine] | None = None  # as they were seen last; None: not since something was changed
        self.beyond: list[Machine] = []  # seen with them: of the target, and in none of its places

    def label(self, number: int) -> str:
        """The label of a place, without what may stand behind it."""
        return place(self._project, self._target, number)

    def rented(self) -> list[Machine]:
        """The target's machines, by their places."""
        machines = self._provider.machines()
        self._known = [each for number in range(1, self._count + 1) for each in of_place(machines, self.label(number))]
        every = self.label(0)[:-1]
        ours = [each for each in machines if each.label.startswith(every) and each.label[len(every) :][:1].isdigit()]
        self.beyond = [each for each in ours if each not in self._known]
        return self._known

    def seen(self) -> list[Machine]:
        """The same, as they were seen last; asked for again once something was changed here."""
        return self.rented() if self._known is None else self._known

    @property
    def known(self) -> list[Machine]:
        """The same, without asking: none where it is not known."""
        return self._known or []

    def have_changed(self) -> None:
        """Something was changed here: what was seen counts no more."""
        self._known = None

    def given_up(self) -> dict[int, list[Machine]]:
        """By their places, those that lost theirs and are not given back yet."""
        found: dict[int, list[Machine]] = {}
        self.seen()
        for machine in self.beyond:
            if machine.label.split(" ")[0].endswith(GIVEN_UP) and place_number(machine) <= self._count:
                found.setdefault(place_number(machine), []).append(machine)
        return found


def place_number(machine: Machine) -> int:
    """A machine's place in its target, from 1; 0 where it has none."""
    last = machine.label.split(" ")[0].rpartition("/")[2].removesuffix(GIVEN_UP)
    return int(last) if last.isdigit() else 0
