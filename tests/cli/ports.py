"""Ports that are free on this machine, with those of canary and candidate."""

from __future__ import annotations

import random
import socket


def free_ports(count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        port = random.randint(10_000, 12_700)
        if port not in found and all(_is_free(port + offset) for offset in (0, 10_000, 20_000)):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
