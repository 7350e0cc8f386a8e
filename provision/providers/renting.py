"""Rent once, whatever answers come back: what was rented is found by its label, and one of several stays.

A label is unique to a place in a target ("deploy/cres/gpu/1"); behind it stand, separated by spaces, what whoever comes
later has to know: a nonce, and when it ends.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from provision.errors import DeployError, Refused
from provision.providers.api import Clock
from provision.providers.face import Gone, Machine, Offer, Order, Provider, ProviderFailed, State, Unclear, Unfit

OnEvent = Callable[[dict[str, object]], None]

_SETTLES = 75.0  # seconds: an answer that never came has taken effect by then, or it will not
_LOOKS = 5.0  # seconds between two looks meanwhile
_OFFERS = 8  # that are tried
_POLL = 5.0
_SILENT = 900.0  # seconds in which a machine that starts says nothing new
_LONGEST_START = 3600.0
_STARTS_AGAIN = 300.0


@dataclass(frozen=True)
class Budget:
    """What may be spent.

    Attributes:
        per_hour: for one machine.
        total: for all machines of the target, what they have cost so far included.
        seconds: how long a machine is rented for at most.
        share: of `total`, for the one that is rented.
    """

    per_hour: float
    total: float
    seconds: float
    share: float = math.inf

    def demand(self, offer: Offer, machines: Sequence[Machine], now: float, bid: float | None = None) -> None:
        """Refuse what could cost more, with the arithmetic.

        Args:
            bid: per hour; what is bid is what is paid.

        Raises:
            Refused: nothing was rented.
        """
        per_hour = max(offer.per_hour, bid or 0.0)
        if not per_hour <= self.per_hour:
            what = "what is bid is" if bid and bid > offer.per_hour else "the cheapest costs"
            raise Refused(
                f"{what} ${per_hour:.3f} an hour, and budget.per_hour is ${self.per_hour:.3f}.",
                next_step="deploy machine offers, then ask for less in [targets.X.needs], or raise budget.per_hour",
            )
        hours = self.seconds / 3600
        lost = (State.LOST, State.DEAD)  # costs a disk at most from now on
        bound = sum(
            max(machine.cost(now), 0.0 if machine.state in lost else machine.per_hour * hours) for machine in machines
        )
        if bound + per_hour * hours > self.total:
            others = f" and the {len(machines)} others may cost ${bound:.2f}" if machines else ""
            raise Refused(
                f"{hours:.1f} h of ${per_hour:.3f} are ${per_hour * hours:.2f}{others}: more than "
                f"budget.total, ${self.total:.2f}.",
                next_step="give back what is not needed (deploy machine list), or change budget.total or budget.until",
            )
        if per_hour * hours > self.share:
            raise Refused(
                f"{hours:.1f} h of ${per_hour:.3f} are ${per_hour * hours:.2f}: more than ${self.share:.2f}, which is "
                f"left of budget.total for this machine.",
                next_step="raise budget.total, or ask for less: budget.until, machines",
            )


def fair_share(total: float, places: int, granted: Iterable[float], paid: float) -> float:
    """What one machine of a target may cost, in whole cents: all shares and what is paid for are `total` at most.

    Each place has the same part. So two who grant at once, from two laptops, don't grant more than there is.

    Args:
        granted: the shares of the other places' machines.
        paid: what those have cost that are no more.
    """
    left = total - paid
    return max(math.floor(100 * min(left / places, left - sum(granted)) + 1e-6) / 100, 0.0)


def place(project: str, target: str, number: int) -> str:
    """The label of a target's machine, without what may stand behind it."""
    return f"deploy/{project}/{target}/{number}"


def of_place(machines: Sequence[Machine], label: str) -> list[Machine]:
    """Those that were rented under a label, oldest first."""
    return sorted((each for each in machines if each.label.split(" ")[0] == label), key=lambda each: each.id)


class Renter:
    """Rents, waits and gives back; tells what it does.

    Args:
        clock: tests make it go fast.
    """

    def __init__(self, provider: Provider, on_event: OnEvent, clock: Clock | None = None) -> None:
        self.provider = provider
        self._on_event = on_event
        self._clock = clock or Clock()
        self._is_unanswered = False  # an order was sent, and what became of it is not known yet

    def rent(self, offers: Sequence[Offer], order: Order, budget: Budget, others: Sequence[Machine]) -> Machine:
        """The one machine with the order's label: that is there already, or is rented now.

        Args:
            offers: cheapest first.
            others: those of the target's other places, whose cost counts.

        Raises:
            Refused: the budget does not allow it, or the provider rents nothing to this account.
            ProviderFailed: none of the offers could be rented; nothing was left behind.
        """
        label = order.label.split(" ")[0]
        if machine := self._only(label):
            return machine
        last: DeployError | None = None
        for offer in offers[:_OFFERS]:
            budget.demand(offer, others, self.provider.now(), order.bid)
            where = f" ({offer.where})" if offer.where else ""
            price = (
                f"for ${offer.per_hour:.3f} an hour" if order.bid is None else f"by a bid of ${order.bid:.3f} an hour"
            )
            self._say(f"rent {offer.gpus} x {offer.gpu} {price}{where}")
            machine = None
            self._is_unanswered = True
            try:
                self.provider.rent(offer, order)
            except Gone as gone:
                last = gone
            except Unclear as unclear:
                last = unclear
                self._say(f"{unclear.what} {unclear.why} Looking whether it did.")
                machine = self._settled(label)
            except DeployError:
                self._is_unanswered = False
                raise
            else:
                machine = self._only(label) or self._settled(label)  # a list may lag behind
            self._is_unanswered = False
            if machine is not None:
                return self._as_ordered(machine, order)
        raise ProviderFailed(
            f"none of {len(offers[:_OFFERS])} offers could be rented.",
            why=last.why if last else "There was none.",
            next_step="deploy machine offers",
        )

    def _as_ordered(self, machine: Machine, order: Order) -> Machine:
        if order.bid is not None and not machine.is_bid:
            self.give_back(machine)
            raise ProviderFailed(
                f"a bid was made, and {self.provider.name} rented on demand, for ${machine.per_hour:.3f} an hour.",
                why=f"Machine {machine.id} was given back.",
                next_step="deploy machine offers",
            )
        return machine

    def _settled(self, label: str) -> Machine | None:
        """What an unclear answer turns out to have done."""
        until = self._clock.now() + _SETTLES
        while True:
            if machine := self._only(label):
                return machine
            if self._clock.now() >= until:
                return None
            self._clock.sleep(_LOOKS)

    def _only(self, label: str) -> Machine | None:
        """The oldest with the label; two that rented at once both keep that one, and give back the rest."""
        here = of_place(self.provider.machines(), label)
        found = [each for each in here if each.state is not State.DEAD]
        for extra in here:
            if extra.state is State.DEAD:
                self._say(f"machine {extra.id} does not recover, and is given back")
            elif extra is not found[0]:
                self._say(f"machine {extra.id} was rented twice, and is given back")
            else:
                continue
            self.give_back(extra)
        return found[0] if found else None

    def wait(self, machine: Machine, *, keep: bool = False) -> Machine:
        """Until it runs, and can be reached.

        Args:
            keep: one that does not start is not given back.

        Raises:
            Unfit: it does not start; what it printed is in the error.
            ProviderFailed: it is no more.
        """
        began = heard = self._clock.now()
        said = ""
        while True:
            now = self._clock.now()
            seen = self.provider.machine(machine.id)
            if seen is None:
                raise ProviderFailed(f"machine {machine.id} is no more.", next_step="deploy machine rent")
            if seen.state is State.RUNNING and seen.address:
                return seen
            if seen.said != said:
                said, heard = seen.said, now
                self._on_event({"event": "message", "host": str(seen.id), "phase": "start", "text": said})
            why = {State.DEAD: "it does not recover", State.LOST: "somebody bid more", State.STOPPED: "it is stopped"}
            reason = why.get(seen.state, "")
            if now - heard > _SILENT or now - began > _LONGEST_START:
                reason = f"nothing new for {(now - heard) / 60:.0f} minutes"
            if reason:
                failed = self._failed(seen, reason, keep=keep)
                failed.its_fault = seen.state in (State.DEAD, State.STARTING)
                raise failed
            self._clock.sleep(_POLL)

    def start(self, machine: Machine) -> None:
        """Let one that is stopped run again.

        Raises:
            ProviderFailed: it stays stopped.
        """
        self._say(f"machine {machine.id} is stopped, and starts again")
        self.provider.start(machine.id)
        until = self._clock.now() + _STARTS_AGAIN
        while (seen := self.provider.machine(machine.id)) and seen.state is State.STOPPED:
            if self._clock.now() > until:
                raise ProviderFailed(
                    f"machine {machine.id} stays stopped.",
                    why=f"Its GPU may be somebody else's by now. {seen.said}".strip(),
                    next_step=f"deploy machine rent, in a while; or deploy machine destroy {machine.id}",
                )
            self._clock.sleep(_POLL)

    def _failed(self, machine: Machine, reason: str, *, keep: bool) -> Unfit:
        log = ""
        with contextlib.suppress(DeployError):
            log = self.provider.log(machine.id, 30)
        if not keep:
            self.give_back(machine)
        kept = "It is kept, and costs on." if keep else "It was given back."
        return Unfit(
            f"machine {machine.id} does not start: {reason}.",
            why=f"{machine.said or 'It says nothing.'} {kept}",
            log=log.splitlines()[-12:],
            next_step=f"deploy machine destroy {machine.id}" if keep else "deploy machine rent",
        )

    def take_back(self, label: str) -> None:
        """Give back what was rented under this very label, and wait for what an unanswered order may still make.

        Raises:
            ProviderFailed: there may be one that costs on.
        """
        until = self._clock.now() + (_SETTLES if self._is_unanswered else 0.0)
        if self._is_unanswered:
            self._say(f"looking for {_SETTLES:.0f} s whether the order took effect (Ctrl-C: let go)")
        while True:
            found = [each for each in self.provider.machines() if each.label == label]
            for machine in found:
                self.give_back(machine)
                self._say(f"machine {machine.id} was given back")
            if found or self._clock.now() >= until:
                return
            self._clock.sleep(_LOOKS)

    def give_back(self, machine: Machine) -> None:
        """Destroy it, and see that it is no more.

        Raises:
            ProviderFailed: it is still there, and costs on.
        """
        for _ in range(3):
            self.provider.destroy(machine.id)
            if self.provider.machine(machine.id) is None:
                return
            self._clock.sleep(_POLL)
        raise ProviderFailed(
            f"machine {machine.id} was given back and is still there: it costs ${machine.per_hour:.3f} an hour.",
            next_step=f"deploy machine destroy {machine.id}",
        )

    def _say(self, text: str) -> None:
        self._on_event({"event": "message", "host": "", "phase": "rent", "text": text})
