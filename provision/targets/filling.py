"""A place of a target gets its machine: ordered within the budget, waited for, joined to the target, and pinned.

What does not come that far is given back, on Ctrl-C too. Where one is no good, the next offer is tried.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provision.errors import Refused
from provision.providers.face import Machine, Order, Provider, State, Unfit
from provision.providers.renting import Budget, OnEvent, Renter, of_place
from provision.targets import backup
from provision.targets.labels import Label
from provision.targets.ssh_keys import public_key, show_key, wait_for_key

if TYPE_CHECKING:
    from pathlib import Path

    from provision.project.renting import Budget as Limits
    from provision.project.renting import Needs as Declared
    from provision.project.target import Target
    from provision.providers.api import Clock
    from provision.targets.allowance import Allowance
    from provision.targets.joining import Joining
    from provision.targets.offering import Offering
    from provision.targets.pins import Pins
    from provision.targets.places import Places

_TRIES = 3  # machines that are rented for one place, where one after the other turns out to be no good


class _Again(Exception):
    """A machine was no good and is given back; another one may be."""

    def __init__(self, unfit: Unfit) -> None:
        super().__init__(unfit)
        self.unfit = unfit


@dataclass(frozen=True)
class Filling:
    """That of one target's places."""

    root: Path  # the project's
    target: Target
    provider: Provider
    places: Places
    pins: Pins
    offering: Offering
    allowance: Allowance
    renter: Renter
    joining: Joining
    on_event: OnEvent
    clock: Clock

    def fill(self, number: int, *, keep: bool, end: float | None) -> tuple[Machine, bool]:
        """A place's machine that runs and whose key is pinned, and if it is new.

        Args:
            keep: one that is no good is not given back.
            end: of what is rented, in seconds since 1970; None: as the budget says.

        Raises:
            Refused: the budget does not allow it.
            ProviderFailed: none could be rented, or one does not start.
            UsageError: there is no SSH key to let in.
        """
        for left in reversed(range(_TRIES)):
            try:
                return self._filled(number, keep=keep, end=end)
            except _Again as again:
                if not left:
                    again.unfit.next_step = "deploy machine offers"
                    raise again.unfit from None
                self._warn(" ".join(filter(None, [again.unfit.what, again.unfit.why, "The next offer is tried."])))
        raise AssertionError  # the last try has returned, or raised

    def _filled(self, number: int, *, keep: bool, end: float | None) -> tuple[Machine, bool]:
        rented = self.places.seen()
        here = of_place(rented, self.places.label(number))
        if len(here) == 1 and self.pins.has(here[0]):
            return here[0], False
        self.allowance.demand_hours()
        identity = self.target.identity
        public = public_key(identity.text if identity else None, self.root)
        self.joining.demand_keys(self.places.label(number))
        others = [each for each in (*rented, *self.places.beyond) if each not in here]
        order, limits = self._order(number, others, end, is_new=not here)
        machine = None
        try:
            if here and here[0].state is State.STOPPED:
                self._start(here[0])
            offers = [] if here else self.offering.demanded()
            machine = self.renter.rent(offers, order, limits, others)
            machine = self.renter.wait(machine, keep=keep or bool(here))
            self.provider.admit(machine.id, public)
            key = wait_for_key(self.provider, machine, self.clock)
            offer = next((each for each in offers if each.machine == machine.machine), None)
            demands = self.offering.needed.demands(self.target, offer)
            self.joining.join(machine, self.pins.spec(machine), key, demands, is_new=not here)
            self.pins.pin(machine, key)
        except BaseException as error:
            unfit = error if isinstance(error, Unfit) else None
            self.places.have_changed()
            if keep or (here and not (unfit and unfit.is_unused)):
                if unfit and machine:
                    unfit.next_step = unfit.next_step or f"deploy machine destroy {machine.id}"
                raise
            self._clean(here[0].label if here else order.label)
            if unfit and machine:
                self.allowance.lose(machine)
                if unfit.its_fault:
                    self.offering.has_failed(machine, unfit.what)
                raise _Again(unfit) from error
            raise
        self.places.have_changed()
        return machine, not here

    def _order(
        self, number: int, others: Sequence[Machine], end: float | None, *, is_new: bool
    ) -> tuple[Order, Budget]:
        """What is ordered for a place, and within which limits.

        Raises:
            Refused: nothing can be deployed to its image, as is known already.
        """
        needs, budget = self._declared
        if is_new:
            self.offering.demand_fit(needs.image)
        gone = self.allowance.gone(others) if is_new else 0.0
        share = self.allowance.share(others, gone)
        now = self.provider.now()
        ends = now + budget.until if end is None else end
        label = Label(self.places.label(number), secrets.token_hex(8), ends, share)
        order = Order(
            label=str(label),
            image=needs.image,
            disk=self.offering.needed.disk,
            ports=needs.ports,
            start=show_key(label.nonce)
            + backup.start(self.target.backup, self.target.python)
            + self.provider.guard(ends - now),
            bid=budget.bid,
        )
        return order, Budget(budget.per_hour, budget.total - gone, ends - now, share)

    def _start(self, machine: Machine) -> None:
        label = Label.read(machine.label)
        if label and label.ends <= self.provider.now():
            raise Refused(
                f"machine {machine.id} is stopped, and its end has come: it would destroy itself.",
                next_step=f"deploy machine destroy {machine.id}, then deploy machine rent",
            )
        self.renter.start(machine)

    def _clean(self, label: str) -> None:
        """What another laptop has rented meanwhile for the same place has another nonce, and stays."""
        try:
            self.renter.take_back(label)
        except BaseException:
            self._warn("whether all that was rented is given back is not known; next: deploy machine list")
            raise

    @property
    def _declared(self) -> tuple[Declared, Limits]:
        needs, budget = self.target.needs, self.target.budget
        assert needs and budget  # noqa: S101  (a target with a provider has both, or is refused)
        return needs, budget

    def _warn(self, text: str) -> None:
        self.on_event({"event": "warning", "host": "", "text": text})
