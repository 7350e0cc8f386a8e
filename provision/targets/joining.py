"""A rented machine joins its target: it gets its guard, shows what it is worth, and gets back what was in its place.

All of that over one connection, to whoever has the key that the machine printed. That key is pinned last: so a machine
that is known is guarded and was accepted, and who is cut off before comes again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING

from provision.contract.backup import PROGRAM, Backed
from provision.hosts import HostConnection, HostKey, HostSpec
from provision.providers.acceptance import told
from provision.providers.api import Clock
from provision.providers.face import Machine, Provider
from provision.providers.notes import Notes
from provision.providers.renting import OnEvent
from provision.targets import backup, guarding
from provision.targets.acceptance import Acceptance, Demands, NoPython, demand_python
from provision.targets.labels import GIVEN_UP, Label
from provision.targets.supplies import CantBeSupplied, supply

if TYPE_CHECKING:
    from provision.contract.backup import Config
    from provision.project.loaded import LoadedProject


class Joining:
    """That of one target's machines.

    Args:
        notes: where is kept what an image lacks.
        connect: to a host.
    """

    def __init__(
        self,
        loaded: LoadedProject,
        target: str,
        provider: Provider,
        notes: Notes,
        on_event: OnEvent,
        clock: Clock,
        connect: Callable[[HostSpec], HostConnection],
    ) -> None:
        self._loaded = loaded
        self._target = loaded.project.targets[target]
        self._provider = provider
        self._notes = notes
        self._on_event = on_event
        self._clock = clock
        self._connect = connect

    def demand_keys(self, place: str) -> None:
        """Refuse what could not be backed up, before anything is paid for.

        Raises:
            UsageError: a key of the store is missing.
        """
        self._config(Label(place, "", 0.0))

    def join(self, machine: Machine, spec: HostSpec, key: HostKey, demands: Demands, *, is_new: bool) -> None:
        """Do for a machine all that comes before its key is pinned.

        Args:
            key: that it printed.
            is_new: it was rented just now.

        Raises:
            Unfit: it is not what was offered.
            NoPython, CantBeSupplied: its image lacks what a deploy needs.
            ProviderFailed: no guard holds it within its budget.
            DeployError: what the last one in its place had written could not be brought.
        """
        acceptance = Acceptance(self._connect, self._provider.now, self._clock)
        with acceptance.met(machine, spec, key) as connection:
            self._demand_python(connection)
            self.guard(machine, connection)
            self._accept(acceptance, machine, connection, demands, is_new=is_new)
            self._bring_back(machine, connection)

    def guard(self, machine: Machine, connection: HostConnection) -> None:
        """Have the machine's guard go by the budget as it is declared today, and by what its label says.

        Raises:
            ProviderFailed: no guard does.
        """
        needs, budget = self._target.needs, self._target.budget
        assert needs and budget  # noqa: S101  (a target with a provider has both, or is refused)
        label = Label.read(machine.label)
        if label is None or label.share is None:
            text = f"an earlier version rented machine {machine.id}: its guard knows when it ends, and nothing else"
            self._on_event({"event": "warning", "host": "", "text": text})
            return
        services = self._loaded.project.services.values()
        sent = guarding.terms(
            machine,
            label,
            self._provider.own(machine.id),
            budget,
            now=self._provider.now(),
            ports=needs.ports or [each.port for each in services if each.port],
            path=self._target.path,
            backup=PROGRAM if self._target.backup else "",
        )
        guarding.send(connection, self._target.python, sent)

    def _demand_python(self, connection: HostConnection) -> None:
        try:
            demand_python(connection, self._target.python)
        except NoPython:
            self._lacks([self._target.python])
            raise

    def _accept(
        self, acceptance: Acceptance, machine: Machine, connection: HostConnection, demands: Demands, *, is_new: bool
    ) -> None:
        """Have it show that it is what was offered, before anybody depends on it, and bring what its image lacks."""
        shown = acceptance.shown(connection, machine, demands, is_new=is_new)
        try:
            for tool in shown.missing:
                supply(connection, tool, self._target.python, shown.machine)
                self._tell("accept", f"{tool}, which the image lacks, was brought")
        except CantBeSupplied:
            self._lacks([*shown.missing])
            raise
        if shown.measured:
            self._tell("accept", f"machine {machine.id} is as it was offered: {told(shown.measured)}")

    def _lacks(self, tools: list[str]) -> None:
        assert self._target.needs  # noqa: S101  (a target with a provider has them, or is refused)
        self._notes.lacks(self._target.needs.image, tools)

    def back_up(self, machine: Machine, spec: HostSpec) -> Backed | None:
        """Have a machine back up now what the target declares, by what is declared today; None: nothing is.

        Raises:
            DeployError: not all of it is in the store.
        """
        config = self._config(Label.read(machine.label))
        if config is None:
            return None
        with self._connect(spec) as connection:
            made = backup.MachineBackup(connection, self._target.python, config, self._on_event)
            made.bring()
            return made.now()

    def backup_trouble(self, spec: HostSpec) -> str:
        """What is wrong with a machine's backups; empty where nothing is."""
        with self._connect(spec) as connection:
            return backup.trouble(connection)

    def _bring_back(self, machine: Machine, connection: HostConnection) -> None:
        config = self._config(Label.read(machine.label))
        if config is None:
            return
        found = backup.MachineBackup(connection, self._target.python, config, self._on_event).bring()
        at = found.get("at", 0.0)
        made = dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
        text = f"has the backup of {made} back: {found.get('files', 0)} files, {found.get('bytes', 0) / 1e6:.1f} MB"
        if differ := found.get("differ"):
            text += f"; of {differ} files there is a later state, from a backup that was cut off"
        first = "is the first in its place: there is no backup of it yet"
        self._tell("backup", f"machine {machine.id} {text if at else first}")

    def _config(self, label: Label | None) -> Config | None:
        if self._target.backup is None or label is None:
            return None
        variables, place = self._loaded.environment.variables, label.place.removesuffix(GIVEN_UP)
        return backup.config(self._target.backup, variables, place, label.nonce, self._target.path)

    def _tell(self, phase: str, text: str) -> None:
        self._on_event({"event": "message", "host": "", "phase": phase, "text": text})
