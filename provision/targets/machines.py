"""A target's rented machines: what is ordered, whose host key is whose, and when each ends.

A label says it all, so that any laptop that has the account's key can go on: the place in the target, a nonce between
which marks the machine prints its host key, and when it ends. Who prints that is whom the provider's own log, which
is read over TLS with the account's key, says: nobody on the way to the machine can write there.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from provision.errors import Refused, UsageError
from provision.hosts import HostKey, HostSpec, declared_hosts, trust
from provision.hosts.known_hosts import lookup_name, pinned, read_pins
from provision.providers import provider
from provision.providers.api import Clock
from provision.providers.face import Loss, Machine, Needs, Offer, Order, ProviderFailed, State
from provision.providers.renting import Budget, OnEvent, Renter, of_place, place
from provision.targets import guarding
from provision.targets.allowance import Allowance
from provision.targets.labels import Label

if TYPE_CHECKING:
    from provision.project.loaded import LoadedProject
    from provision.project.renting import Budget as Limits
    from provision.project.renting import Needs as Declared

_LOG_LINES = 400
_KEY_SECONDS = 300.0  # until a machine that runs has printed its key
_GIVEN_UP = "-lost"  # behind the place of a machine that lost it to another
_OWN_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
# sshd's own keys may still be made when this runs.
_SHOW_KEY = """\
n=0
until ls /etc/ssh/ssh_host_*_key.pub >/dev/null 2>&1 || [ $n -ge 120 ]; do sleep 1; n=$((n+1)); done
for key in /etc/ssh/ssh_host_*_key.pub; do read -r kind text _ <"$key" && echo "deploy-{nonce} $kind $text"; done
"""


class Machines:
    """Those of one target.

    Args:
        clock: tests make it go fast.

    Raises:
        UsageError: the target rents none, or there is no key of an account.
    """

    def __init__(self, loaded: LoadedProject, target: str, on_event: OnEvent, clock: Clock | None = None) -> None:
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
        self._known: list[Machine] = []  # as they were seen last, for who asks next
        self._beyond: list[Machine] = []
        self.provider = provider(self._target.provider, loaded.environment.variables, self._clock)
        self._allowance = Allowance(loaded.project, target, self.provider)
        self._renter = Renter(self.provider, on_event, self._clock)

    def offers(self) -> Sequence[Offer]:
        """What could be rented for the target now, cheapest first."""
        needs, budget = self._declared
        return self.provider.offers(
            Needs(
                gpu=needs.gpu,
                gpus=needs.gpus,
                vram=needs.vram or 0,
                memory=needs.memory or 0,
                disk=needs.disk,
                down=needs.down or 0,
                up=needs.up or 0,
                reliability=needs.reliability,
                ports=len(needs.ports) + 1,
                kind=budget.kind,
            )
        )

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
        needs, budget = self._declared
        self.seen()  # from then on it is known what the provider's clock says
        until = self.provider.now() + budget.until
        for number, end in (ends or dict.fromkeys(range(1, self._target.machines + 1), until)).items():
            rented = self.seen()
            if machine := self._ready(of_place(rented, self._place(number))):
                yield machine, False
                continue
            self._allowance.demand_hours()
            public = self._public_key()
            here = of_place(rented, self._place(number))
            others = [each for each in (*rented, *self._beyond) if each not in here]
            gone = 0.0 if here else self._allowance.gone(others)
            share = self._allowance.share(others, gone)
            label = Label(self._place(number), secrets.token_hex(8), end, share)
            seconds = end - self.provider.now()
            order = Order(
                label=str(label),
                image=needs.image,
                disk=needs.disk,
                ports=needs.ports,
                start=_SHOW_KEY.replace("{nonce}", label.nonce) + self.provider.guard(seconds),
                bid=budget.bid,
            )
            limits = Budget(budget.per_hour, budget.total - gone, seconds, share)
            try:
                if here and here[0].state is State.STOPPED:
                    self._start(here[0])
                offers = [] if here else self.offers()
                machine = self._renter.rent(offers, order, limits, others)
                machine = self._renter.wait(machine, keep=keep or bool(here))
                self.provider.admit(machine.id, public)
                key = self._printed(machine)
                self._watch(machine, key)
                self._pin(machine, key)
            except BaseException:
                if not (here or keep):
                    self._clean(order.label)
                raise
            self._known = []
            yield machine, not here

    def losses(self, machines: Sequence[Machine]) -> dict[int, Loss]:
        """Why each of them that is lost is, by its number. What we stopped is not lost."""
        stopped = [each.id for each in machines if each.state in (State.STOPPED, State.LOST)]
        credit = self.provider.credit() if stopped else None
        broke = dict.fromkeys(stopped if credit is not None and credit <= 0 else [], Loss.NO_CREDIT)
        return {each.id: each.loss for each in machines if each.loss} | broke

    def give_up(self, machine: Machine) -> None:
        """Free its place for another. It is given back once that one serves; until then its label says so."""
        label = Label.read(machine.label)
        if label is None:
            raise Refused(f"machine {machine.id} was not rented by deploy, and has no place.")
        self.provider.rename(machine.id, str(replace(label, place=label.place + _GIVEN_UP)))
        self._known = []

    def given_up(self) -> dict[int, list[Machine]]:
        """By their places, those that were given up and are not given back yet."""
        found: dict[int, list[Machine]] = {}
        self.seen()
        for machine in self._beyond:
            if machine.label.split(" ")[0].endswith(_GIVEN_UP) and self.number(machine) <= self._target.machines:
                found.setdefault(self.number(machine), []).append(machine)
        return found

    def number(self, machine: Machine) -> int:
        """Its place in the target, from 1; 0 where it has none."""
        last = machine.label.split(" ")[0].rpartition("/")[2].removesuffix(_GIVEN_UP)
        return int(last) if last.isdigit() else 0

    def is_ready(self, machine: Machine) -> bool:
        """Whether it runs, and the key is pinned where it is reached now."""
        return self._ready([machine]) is not None

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
        self._watch(replace(machine, label=str(after)), None)
        if most != after:
            self.provider.rename(machine.id, str(after))
        return after

    def _watch(self, machine: Machine, key: HostKey | None) -> None:
        """Have the machine's guard go by the budget."""
        needs, budget = self._declared
        label = Label.read(machine.label)
        if label is None or label.share is None:
            text = f"an earlier version rented machine {machine.id}: its guard knows when it ends, and nothing else"
            self._on_event({"event": "warning", "host": "", "text": text})
            return
        services = self._loaded.project.services.values()
        sent = guarding.terms(
            machine,
            label,
            self.provider.own(machine.id),
            budget,
            now=self.provider.now(),
            ports=needs.ports or [each.port for each in services if each.port],
            path=self._target.path,
        )
        guarding.watch(self.spec(machine), key, self._target.python, sent, self._clock)

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
            ProviderFailed: it prints no key.
        """
        return self._pin(machine, self._printed(machine))

    def _pin(self, machine: Machine, key: HostKey) -> HostKey:
        spec = self.spec(machine)
        return trust(spec, spec.known_hosts[0], replace=True, key=key)

    def _printed(self, machine: Machine) -> HostKey:
        label = Label.read(machine.label)
        if label is None:
            raise Refused(f"machine {machine.id} was not rented by deploy: nothing says which key is its own.")
        until = self._clock.now() + _KEY_SECONDS
        while True:
            if key := printed_key(self.provider.log(machine.id, _LOG_LINES), label.nonce):
                return key
            if self._clock.now() > until:
                raise ProviderFailed(
                    f"machine {machine.id} runs, and its log does not say which host key is its own.",
                    next_step=f"deploy machine logs {machine.id}",
                )
            self._clock.sleep(10.0)

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
        files = [self._loaded.root / Path(identity.text).expanduser()] if identity else map(Path, _OWN_KEYS)
        for file in (each.expanduser() for each in files):
            if not file.exists():
                continue
            beside = file.with_name(f"{file.name}.pub")
            if beside.exists():
                return beside.read_text(encoding="utf-8").strip()
            made = subprocess.run(
                ["ssh-keygen", "-y", "-P", "", "-f", file], capture_output=True, text=True, timeout=10, check=False
            )
            if made.returncode == 0:
                return made.stdout.strip()
        raise UsageError(
            f"there is no SSH key that a machine could let in: {identity.text if identity else _OWN_KEYS[0]}.",
            next_step="ssh-keygen -t ed25519, or name one with identity in the target",
        )


def printed_key(log: str, nonce: str) -> HostKey | None:
    """The host key that a machine printed last, of the kind that is asked for first."""
    line = re.compile(rf"^deploy-{nonce} ([a-z0-9@.-]{{1,60}}) ([A-Za-z0-9+/=]{{40,1000}})\r?$", re.MULTILINE)
    keys: dict[str, HostKey] = {}
    for kind, text in line.findall(log):
        with contextlib.suppress(binascii.Error):
            keys[kind] = HostKey(kind, base64.b64decode(text, validate=True))
    return keys.get("ssh-ed25519") or next(iter(keys.values()), None)
