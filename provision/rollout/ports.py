"""At which port of a host a program answers that has a lane for now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from provision import errors
from provision.contract import roles
from provision.contract.slots import STABLE
from provision.contract.state import from_dict
from provision.targets import Deployment

if TYPE_CHECKING:
    from provision.hosts import HostConnection, HostSpec


def ports_there(
    deployment: Deployment, spec: HostSpec, connection: HostConnection, channel: str, ports: Mapping[str, int]
) -> dict[str, int]:
    """`ports`, with those of services that traffic comes to as the host has them now.

    Stable has the declared port, through what stands before it. Any other lane is in a slot, which the host knows.

    Raises:
        Refused: the channel has no program of one of these services there.
    """
    from provision.project.fronted import is_fronted

    services = deployment.loaded.project.services
    moved = {name for name in ports if name in services and is_fronted(deployment.target, services[name])}
    if channel == STABLE or not moved:
        return dict(ports)
    from provision.targets.host import HostConversation

    with deployment.converse(connection, spec, install=False) as conversation:
        facts = HostConversation(deployment, spec, connection, conversation, 0.0).facts({"documents": [channel]})
    project = facts["project"]
    state = from_dict(project["state"])
    document = project["documents"].get(state.channels.get(channel, ""))
    found = {each["name"]: each["ports"] for each in roles.having(document, state, channel)} if document else {}
    for name in moved:
        if not found.get(name):
            raise errors.Refused(
                f"{channel} has no program of {name} there.",
                host=spec.name,
                next_step=f"deploy up --channel {channel}; deploy status says what runs",
            )
    return {name: found[name][0] if name in moved else port for name, port in ports.items()}
