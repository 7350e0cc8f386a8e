"""Fabric's connection over one of ours: the same `run`, `put` and `sudo`, and pinned host keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import fabric

from provision.errors import Unreachable

if TYPE_CHECKING:
    from invoke.config import Config

    from provision.hosts import HostConnection


class PinnedConnection(fabric.Connection):  # type: ignore[misc]  # Fabric ships no types
    """A connection that is open; Fabric never opens it itself, because it would believe any host key.

    Attributes:
        declared: the host's name, as its target has it.
    """

    declared = ""

    def open(self) -> None:
        """Nothing while it is open.

        Raises:
            Unreachable: it is closed, or was cut.
        """
        if not self.is_connected:
            raise Unreachable("the connection is gone", host=self.declared)


def over(connection: HostConnection, config: Config) -> PinnedConnection:
    """`connection` as Fabric's, with the operator's settings (`run.echo`, `sudo.password`), and none of ssh's."""
    login = connection.login
    hop = login.hop
    made = PinnedConnection("host", user=hop.user, port=hop.port, config=config, gateway=False, forward_agent=False)
    made.host, made.original_host = hop.address, connection.spec.address
    made.client, made.transport = login.client, login.transport
    made.declared = connection.name
    return made
