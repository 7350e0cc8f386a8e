"""What is so of each container on a host's Docker Engine, and of those that have what the host has.

Containers share the host's network. So ports and addresses mean what they mean under the other platforms, what
listens can be traced to the container's own processes, and nothing is published around the host's firewall.
"""

from __future__ import annotations

from typing import Any, Mapping

_LOG_SIZE, _LOG_FILES = "10m", "3"
_PIDS = 4096
CONFINED: Mapping[str, Any] = {
    "NetworkMode": "host",
    "ReadonlyRootfs": True,
    "Tmpfs": {"/tmp": "rw,nosuid,size=256m"},  # noqa: S108  # the container's own
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges"],
    "PidsLimit": _PIDS,
    "LogConfig": {"Type": "json-file", "Config": {"max-size": _LOG_SIZE, "max-file": _LOG_FILES}},
}
# Ports below 1024; and what speaks with clients becomes an account that has nothing, in a folder of its own. The
# keeper listens for that account. As of systemd's unit; where somebody else than root deploys, nobody has any of it.
RIGHTS = ("CHOWN", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID", "SYS_CHROOT")
