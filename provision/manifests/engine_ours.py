"""What stands before the programs of a host's Docker Engine, and who is at home with that: containers as well.

Which HAProxy and which agent a host has, no image knows. So theirs has nothing in it, needs no registry, and stays as
it is whatever the services are made of; the agent adds, read-only, what HAProxy and Python need of the host. Both
may write to the folder of the front alone, and neither gets to the engine.
"""

from __future__ import annotations

import math
from typing import Any

from provision.contract.containers import CONFINED, RIGHTS
from provision.contract.layout import OF_HOST, PROJECT_LABEL, Layout
from provision.contract.release import Manifest
from provision.contract.slots import TRAFFIC
from provision.manifests.engine import restart_policy, written
from provision.manifests.places import LaneOnTarget


def manifest(places: LaneOnTarget, name: str) -> Manifest:
    """What the agent asks the engine for, of one of the two."""
    service = places.project.services[name]
    layout = Layout(places.target.path)
    host: dict[str, Any] = {
        **CONFINED,
        "Binds": [f"{layout.traffic}:{layout.traffic}"],
        "CapAdd": list(RIGHTS),
        "Init": False,  # neither leaves a process behind, and the engine's own would lie below the host's /sbin
        "RestartPolicy": restart_policy(service.restart),
    }
    if name == TRAFFIC:
        host["PidMode"] = "host"  # the numbers that it tells of its processes are the host's
    body = {
        "Image": OF_HOST,
        "Entrypoint": [places.text(word, f"services.{name}.command", name) for word in service.command],
        "Env": [],
        "Labels": {PROJECT_LABEL: places.target.path},
        "StopTimeout": math.ceil(service.stop_timeout),
        "HostConfig": host,
    }
    return written(places, name, body)
