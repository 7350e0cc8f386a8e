"""A target's rented machines: one door to all that is done with them.

A label says it all, so that any laptop that has the account's key can go on (`targets.labels`, `targets.places`). How a
place gets its machine is `targets.filling`; a pinned key means that nothing is left to be done for one
(`targets.pins`, `targets.joining`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from provision.contract.backup import Backed
from provision.errors import Refused, UsageError
from provision.hosts import HostConnection, HostKey, HostSpec, connect, run_on_hosts
from provision.providers import provider
from provision.providers.api import Clock
from provision.providers.face import Loss, Machine, ProviderFailed, State
from provision.providers.notes import Notes
from provision.providers.renting import OnEvent, Renter
from provision.targets.allowance import Allowance
from provision.targets.filling import Filling
from provision.targets.joining import Joining
from provision.targets.labels import GIVEN_UP, Label
from provision.targets.offering import Offering
from provision.targets.pins import Pins
from provision.targets.places import Places
from provision.targets.ssh_keys import wait_for_key

if TYPE_CHECKING:
    from provision.project.loaded import LoadedProject

_DAY = 86400.0


class Machines:
    """Those of one target.

    Args:
        clock: tests make it go fast.
        connect: to a host, asking a person for what that takes.

    Raises:
        UsageError: the target rents none, or there is no key of an account.
    """

    def __init__(
        self,
        loaded: LoadedProject,
        target: str,
        on_event: OnEvent,
        clock: Clock | None = None,
        connect: Callable[[HostSpec], HostConnection] = connect,
    ) -> None:
        self._name = target
        self._target = loaded.project.targets[target]
        if self._target.provider is None:
            raise UsageError(
                f"targets.{target} rents no machines: it names its hosts.",
                next_step=f'set provider = "vast" in [targets.{target}] instead of hosts, with needs and budget',
            )
        self._clock = clock = clock or Clock()
        self._on_event = on_event
        self._connect = connect
        self.provider = vendor = provider(self._target.provider, loaded.environment.variables, clock)
        notes = Notes()
        self.places = Places(loaded.project, target, vendor)
        self.offering = Offering(loaded, target, vendor, notes)
        self._pins = Pins(loaded, target)
        self._allowance = Allowance(loaded.project, target, vendor)
        self._renter = Renter(vendor, on_event, clock)
        self._joining = Joining(loaded, target, vendor, notes, on_event, clock, connect)
        self._filling = Filling(
            root=loaded.root,
            target=self._target,
            provider=vendor,
            places=self.places,
            pins=self._pins,
            offering=self.offering,
            allowance=self._allowance,
            renter=self._renter,
            joining=self._joining,
            on_event=on_event,
            clock=clock,
        )

    def learn(self, event: Mapping[str, Any]) -> None:
        """Remember how fast a machine's GPU is, where a check has counted its tokens."""
        rate = event.get("facts", {}).get("tokens_per_second") if event.get("event") == "check" else None
        if rate and event.get("passed"):
            for machine in self.places.known:
                if machine.address and self.spec(machine).name == event.get("host"):
                    self.offering.gave(machine.gpu.partition(" x ")[2], float(rate))

    def rented(self) -> list[Machine]:
        """The target's machines, by their places."""
        return self.places.rented()

    def seen(self) -> list[Machine]:
        """The same, as they were seen last; asked for again once something was changed here."""
        return self.places.seen()

    def rented_beyond(self) -> list[Machine]:
        """Those that were rented when the target had more machines: they cost on, and nothing is deployed to them.

        As they were seen last, with the target's own.
        """
        self.seen()
        return self.places.beyond

    def rent(self, *, keep: bool = False, ends: Mapping[int, float] | None = None) -> Iterator[tuple[Machine, bool]]:
        """See that every place of the target has a machine that runs and whose key is pinned; each, and if it is new.

        What was rented here and does not come that far is given back, on Ctrl-C too.

        Args:
            ends: only these places, and when what is rented for each ends, in seconds since 1970.

        Raises:
            Refused: the budget does not allow it.
            ProviderFailed: none could be rented, or one does not start.
            UsageError: there is no SSH key to let in.
        """
        for number in ends or range(1, self._target.machines + 1):
            yield self._filling.fill(number, keep=keep, end=ends[number] if ends else None)

    def renew(self, machine: Machine, seconds: float | None = None) -> Label:
        """Let a machine go on, from now for `seconds` or budget.until, by what is declared today; its new label.

        Raises:
            Refused: the budget does not allow it, or the machine has no guard that could be told.
        """
        others = [each for each in (*self.rented(), *self.places.beyond) if each.id != machine.id]
        before, after = self._allowance.renewed(machine, others, seconds)
        # Until its guard is told, the label says the most: `reap` spares the machine, and nobody else is granted what
        # it may still spend.
        most = replace(after, ends=max(before.ends, after.ends), share=max(before.share or 0.0, after.share or 0.0))
        self.provider.rename(machine.id, str(most))
        with self._connect(self.spec(machine)) as connection:
            self._joining.guard(replace(machine, label=str(after)), connection)
        if most != after:
            self.provider.rename(machine.id, str(after))
        return after

    def losses(self, machines: Sequence[Machine]) -> dict[int, Loss]:
        """Why each of them that is lost is, by its number. What we stopped is not lost."""
        stopped = [each.id for each in machines if each.state in (State.STOPPED, State.LOST)]
        credit = self.provider.credit() if stopped else None
        broke = dict.fromkeys(stopped if credit is not None and credit <= 0 else [], Loss.NO_CREDIT)
        return {each.id: each.loss for each in machines if each.loss} | broke

    def give_up(self, machine: Machine) -> None:
        """Free its place for another. It is given back once that one serves; until then its label says so.

        `keep_down` comes after it, so that who is cut off in between does it at the next look.
        """
        label = Label.read(machine.label)
        if label is None:
            raise Refused(f"machine {machine.id} was not rented by deploy, and has no place.")
        self.provider.rename(machine.id, str(replace(label, place=label.place + GIVEN_UP)))
        self.places.have_changed()

    def keep_down(self, machine: Machine) -> None:
        """See that one that was given up costs no more than its disk, also if it comes back: its share is another's.

        Raises:
            ProviderFailed: it runs, and can't be stopped.
        """
        try:
            self.provider.stop(machine.id)
        except ProviderFailed as failed:
            if machine.state in (State.RUNNING, State.STARTING):
                raise
            text = f"machine {machine.id} can't be kept from running again: {failed}"
            self._on_event({"event": "warning", "host": "", "text": text})

    def given_up(self) -> dict[int, list[Machine]]:
        """By their places, those that were given up and are not given back yet."""
        return self.places.given_up()

    def is_ready(self, machine: Machine) -> bool:
        """Whether it runs, and the key is pinned where it is reached now."""
        return self._pins.has(machine)

    def pin(self, machine: Machine) -> HostKey:
        """Pin the key that the machine printed at its start, in the project's known_hosts.

        Raises:
            Refused: the machine has no label of ours.
            Unfit: it prints no key.
        """
        return self._pins.pin(machine, wait_for_key(self.provider, machine, self._clock))

    def back_up(self, machine: Machine) -> Backed | None:
        """Have a machine back up now what the target declares, by what is declared today; None: nothing is.

        Raises:
            DeployError: not all of it is in the store.
        """
        return self._joining.back_up(machine, self.spec(machine))

    def backups(self, machines: Sequence[Machine]) -> dict[int, str]:
        """What is wrong with the backups of each of them that can be asked, by its number; empty where nothing is."""
        asked = {self.spec(each).name: each for each in machines if self._target.backup and self.is_ready(each)}
        found = run_on_hosts([self.spec(each) for each in asked.values()], self._joining.backup_trouble)
        return {asked[each.spec.name].id: str(each.error or each.value or "") for each in found}

    def specs(self) -> list[HostSpec]:
        """How the machines that run are reached.

        Raises:
            Refused: none runs.
        """
        rented = self.seen()
        running = [each for each in rented if each.state is State.RUNNING and each.address]
        missing = self._target.machines - len(running)
        losses = self.losses(rented) if missing else {}
        told = " ".join(f"Machine {number} is lost: {loss}." for number, loss in losses.items())
        after = f"deploy machine watch --once --target {self._name}"
        if not running:
            raise Refused(
                f"no machine of targets.{self._name} runs.",
                why=told or "deploy machine list shows what is rented.",
                next_step=after if told else f"deploy machine rent --target {self._name}",
            )
        if missing:
            text = f"{missing} of {self._target.machines} machines of targets.{self._name} do not run"
            text = f"{text}. {told} next: {after}" if told else text
            self._on_event({"event": "warning", "host": "", "text": text})
        return [self.spec(machine) for machine in running]

    def reached(self, spec: HostSpec, port: int) -> tuple[str, int] | None:
        """Where a port of one that was seen last is reached from outside; None where it is not."""
        at = (spec.address, spec.port)
        return next((each.ports.get(port) for each in self.places.known if each.address == at), None)

    def give_back(self, machine: Machine) -> None:
        """Destroy it, and see that it is no more."""
        self._renter.give_back(machine)

    def charged(self, machine: Machine) -> float | None:
        """What the provider has charged for one by now; None where it does not say."""
        with contextlib.suppress(ProviderFailed):
            return self.provider.paid("", machine.began - _DAY).get(machine.id)
        return None

    def ended(self) -> dict[int, float] | None:
        """What each machine of the target was charged for of late that is no more; None where nobody says."""
        with contextlib.suppress(ProviderFailed):
            return self._allowance.ended([*self.seen(), *self.places.beyond])
        return None

    def past(self, now: float | None = None) -> list[Machine]:
        """All machines of this account that deploy rented, for any project, and whose end has come."""
        labels = [(each, Label.read(each.label)) for each in self.provider.machines()]
        now = self.provider.now() if now is None else now
        return [machine for machine, label in labels if label and label.ends <= now]

    def spec(self, machine: Machine) -> HostSpec:
        """How it is reached.

        Raises:
            Refused: it has no address.
        """
        return self._pins.spec(machine)
