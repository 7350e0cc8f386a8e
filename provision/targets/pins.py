"""How a target's rented machines are reached, and which host keys are pinned there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provision.errors import Refused
from provision.hosts import HostKey, HostSpec, declared_hosts, trust
from provision.hosts.known_hosts import lookup_name, pinned, read_pins
from provision.providers.face import State

if TYPE_CHECKING:
    from provision.project.loaded import LoadedProject
    from provision.providers.face import Machine


class Pins:
    """Those of one target's machines."""

    def __init__(self, loaded: LoadedProject, target: str) -> None:
        self._root = loaded.root
        self._target = loaded.project.targets[target]

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
            self._root,
            identity=target.identity.text if target.identity else None,
            known_hosts=target.known_hosts,
            sudo=target.sudo,
        )
        return spec

    def has(self, machine: Machine) -> bool:
        """Whether it runs, and a key is pinned where it is reached now: nothing is left to be done for it."""
        if machine.state is not State.RUNNING or not machine.address:
            return False
        spec = self.spec(machine)
        return bool(pinned(read_pins(spec.known_hosts[:1]), lookup_name(spec.address, spec.port)))

    def pin(self, machine: Machine, key: HostKey) -> HostKey:
        """Pin a machine's key in the project's known_hosts, instead of others there."""
        spec = self.spec(machine)
        return trust(spec, spec.known_hosts[0], replace=True, key=key)
