"""A target's rented machines: what is ordered, which of them is in which place, and when each ends.

A label says it all, so that any laptop that has the account's key can go on (`targets.labels`). A pinned key means that
nothing is left to be done for a machine (`targets.joining`).
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from provision.contract.backup import Backed
from provision.errors import Refused, UsageError
from provision.hosts import HostConnection, HostKey, HostSpec, connect, declared_hosts, run_on_hosts, trust
from provision.hosts.known_hosts import lookup_name, pinned, read_pins
from provision.providers import provider
from provision.providers.api import Clock
from provision.providers.face import Loss, Machine, Order, ProviderFailed, State, Unfit
from provision.providers.notes import Notes
from provision.providers.renting import Budget, OnEvent, Renter, of_place, place
from provision.targets import backup
from provision.targets.allowance import Allowance
from provision.targets.joining import Joining
from provision.targets.labels import GIVEN_UP, Label
from provision.targets.offering import Offering
from provision.targets.ssh_keys import public_key, show_key, wait_for_key

if TYPE_CHECKING:
    from provision.project.loaded import LoadedProject
    from provision.project.renting import Budget as Limits
    from provision.project.renting import Needs as Declared

_DAY = 86400.0
_TRIES = 3  # machines that are rented for one place, where one after the other turns out to be no good


class _Again(Exception):
    """A machine was no good and is given back; another one may be."""

    def __init__(self, unfit: Unfit) -> None:
        super().__init__(unfit)
        self.unfit = unfit


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
        self._loaded = loaded
        self._name = target
        self._target = loaded.project.targets[target]
        if self._target.provider is None:
            raise UsageError(
                f"targets.{target} rents no machines: it names its hosts.",
                next_step=f'set provider = "vast" in [targets.{target}] instead of hosts, with needs and budget',
            )
        self._clock = clock or Clock()
        self._on_event = on_event
        self._connect = connect
        self._known: list[Machine] = []  # as they were seen last, for who asks next
        self._beyond: list[Machine] = []
        self.provider = provider(self._target.provider, loaded.environment.variables, self._clock)
        notes = Notes()
        self.offering = Offering(loaded, target, self.provider, notes)
        self._allowance = Allowance(loaded.project, target, self.provider)
        self._renter = Renter(self.provider, on_event, self._clock)
        self._joining = Joining(loaded, target, self.provider, notes, on_event, self._clock, connect)

    def learn(self, event: Mapping[str, Any]) -> None:
        """Remember how fast a machine's GPU is, where a check has counted its tokens."""
        rate = event.get("facts", {}).get("tokens_per_second") if event.get("event") == "check" else None
        if rate and event.get("passed"):
            for machine in self._known:
                if machine.address and self.spec(machine).name == event.get("host"):
                    self.offering.gave(machine.gpu.partition(" x ")[2], float(rate))

    def rented(self) -> list[Machine]:
        """The target's machines, by their places."""
        machines = self.provider.machines()
        numbers = range(1, self._target.machines + 1)
        self._known = [each for number in numbers for each in of_place(machines, self._place(number))]
        every = self._place(0)[:-1]
        ours = [each for each in machines if each.label.startswith(every) and each.label[len(every) :][:1].isdigit()]
        self._beyond = [each for each in ours if each not in self._known]
        return self._known

    def seen(self) -> list[Machine]:
        """The same, as they were seen last; asked for again once something was changed here."""
        return self._known or self.rented()

    def rented_beyond(self) -> list[Machine]:
        """Those that were rented when the target had more machines: they cost on, and nothing is deployed to them."""
        self.rented()
        return self._beyond

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
            yield self._until_fit(number, keep=keep, end=ends[number] if ends else None)

    def _until_fit(self, number: int, *, keep: bool, end: float | None) -> tuple[Machine, bool]:
        """A place's machine, and if it is new. One that is no good is given back, and the next offer is tried."""
        for left in reversed(range(_TRIES)):
            try:
                return self._filled(number, keep=keep, end=end)
            except _Again as again:
                if not left:
                    again.unfit.next_step = "deploy machine offers"
                    raise again.unfit from None
                text = " ".join(filter(None, [again.unfit.what, again.unfit.why, "The next offer is tried."]))
                self._on_event({"event": "warning", "host": "", "text": text})
        raise AssertionError  # the last try has returned, or raised

    def _filled(self, number: int, *, keep: bool, end: float | None) -> tuple[Machine, bool]:
        rented = self.seen()
        here = of_place(rented, self._place(number))
        if machine := self._ready(here):
            return machine, False
        self._allowance.demand_hours()
        public = self._public_key()
        self._joining.demand_keys(self._place(number))
        others = [each for each in (*rented, *self._beyond) if each not in here]
        order, limits = self._order(number, others, end, is_new=not here)
        machine = None
        try:
            if here and here[0].state is State.STOPPED:
                self._start(here[0])
            offers = [] if here else self.offering.demanded()
            machine = self._renter.rent(offers, order, limits, others)
            machine = self._renter.wait(machine, keep=keep or bool(here))
            self.provider.admit(machine.id, public)
            key = wait_for_key(self.provider, machine, self._clock)
            offer = next((each for each in offers if each.machine == machine.machine), None)
            demands = self.offering.needed.demands(self._target, offer)
            self._joining.join(machine, self.spec(machine), key, demands, is_new=not here)
            self._pin(machine, key)
        except BaseException as error:
            unfit = error if isinstance(error, Unfit) else None
            if keep or (here and not (unfit and unfit.is_unused)):
                if unfit and machine:
                    unfit.next_step = unfit.next_step or f"deploy machine destroy {machine.id}"
                raise
            self._clean(here[0].label if here else order.label)
            self._known = []
            if unfit and machine:
                self._allowance.lose(machine)
                if unfit.its_fault:
                    self.offering.has_failed(machine, unfit.what)
                raise _Again(unfit) from error
            raise
        self._known = []
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
        gone = self._allowance.gone(others) if is_new else 0.0
        share = self._allowance.share(others, gone)
        now = self.provider.now()
        ends = now + budget.until if end is None else end
        label = Label(self._place(number), secrets.token_hex(8), ends, share)
        order = Order(
            label=str(label),
            image=needs.image,
            disk=self.offering.needed.disk,
            ports=needs.ports,
            start=show_key(label.nonce)
            + backup.start(self._target.backup, self._target.python)
            + self.provider.guard(ends - now),
            bid=budget.bid,
        )
        return order, Budget(budget.per_hour, budget.total - gone, ends - now, share)

    def renew(self, machine: Machine, seconds: float | None = None) -> Label:
        """Let a machine go on, from now for `seconds` or budget.until, by what is declared today; its new label.

        Raises:
            Refused: the budget does not allow it, or the machine has no guard that could be told.
        """
        others = [each for each in (*self.rented(), *self._beyond) if each.id != machine.id]
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
        self._known = []

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
        found: dict[int, list[Machine]] = {}
        self.seen()
        for machine in self._beyond:
            if machine.label.split(" ")[0].endswith(GIVEN_UP) and self.number(machine) <= self._target.machines:
                found.setdefault(self.number(machine), []).append(machine)
        return found

    def number(self, machine: Machine) -> int:
        """Its place in the target, from 1; 0 where it has none."""
        last = machine.label.split(" ")[0].rpartition("/")[2].removesuffix(GIVEN_UP)
        return int(last) if last.isdigit() else 0

    def is_ready(self, machine: Machine) -> bool:
        """Whether it runs, and the key is pinned where it is reached now."""
        return self._ready([machine]) is not None

    def _ready(self, here: Sequence[Machine]) -> Machine | None:
        """The one that runs and whose key is pinned: nothing is left to be done for it."""
        if len(here) != 1 or here[0].state is not State.RUNNING or not here[0].address:
            return None
        spec = self.spec(here[0])
        pins = read_pins(spec.known_hosts[:1])
        return here[0] if pinned(pins, lookup_name(spec.address, spec.port)) else None

    def _start(self, machine: Machine) -> None:
        label = Label.read(machine.label)
        if label and label.ends <= self.provider.now():
            raise Refused(
                f"machine {machine.id} is stopped, and its end has come: it would destroy itself.",
                next_step=f"deploy machine destroy {machine.id}, then deploy machine rent",
            )
        self._renter.start(machine)

    def _clean(self, label: str) -> None:
        """What another laptop has rented meanwhile for the same place has another nonce, and stays."""
        try:
            self._renter.take_back(label)
        except BaseException:
            text = "whether all that was rented is given back is not known; next: deploy machine list"
            self._on_event({"event": "warning", "host": "", "text": text})
            raise

    def pin(self, machine: Machine) -> HostKey:
        """Pin the key that the machine printed at its start, in the project's known_hosts.

        Raises:
            Refused: the machine has no label of ours.
            Unfit: it prints no key.
        """
        return self._pin(machine, wait_for_key(self.provider, machine, self._clock))

    def _pin(self, machine: Machine, key: HostKey) -> HostKey:
        spec = self.spec(machine)
        return trust(spec, spec.known_hosts[0], replace=True, key=key)

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
        return next((each.ports.get(port) for each in self._known if each.address == at), None)

    def give_back(self, machine: Machine) -> None:
        """Destroy it, and see that it is no more."""
        self._renter.give_back(machine)

    def charged(self, machine: Machine) -> float | None:
        """What the provider has charged for one by now; None where it does not say."""
        with contextlib.suppress(ProviderFailed):
            return self.provider.paid("", machine.began - _DAY).get(machine.id)
        return None

    def past(self, now: float | None = None) -> list[Machine]:
        """All machines of this account that deploy rented, for any project, and whose end has come."""
        labels = [(each, Label.read(each.label)) for each in self.provider.machines()]
        now = self.provider.now() if now is None else now
        return [machine for machine, label in labels if label and label.ends <= now]

    @property
    def _declared(self) -> tuple[Declared, Limits]:
        needs, budget = self._target.needs, self._target.budget
        assert needs and budget  # noqa: S101  (a target with a provider has both, or is refused)
        return needs, budget

    def _place(self, number: int) -> str:
        return place(self._loaded.project.name, self._name, number)

    def spec(self, machine: Machine) -> HostSpec:
        """How it is reached.

        Raises:
            Refused: it has no address.
        """
        if machine.address is None:
            raise Refused(f"machine {machine.id} has no address yet.", next_step="deploy machine list")
        address, port = machine.address
        target = self._target
        (spec,) = declared_hosts(
            [f"root@[{address}]:{port}" if ":" in address else f"root@{address}:{port}"],
            self._loaded.root,
            identity=target.identity.text if target.identity else None,
            known_hosts=target.known_hosts,
            sudo=target.sudo,
        )
        return spec

    def _public_key(self) -> str:
        identity = self._target.identity
        return public_key(identity.text if identity else None, self._loaded.root)
