"""Who listens on which port, and which ports closed connections still keep, as the kernel tells (proc(5))."""

from __future__ import annotations

import os
from typing import Dict, Iterable, Set

from . import processes, sockets

# TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_TIME_WAIT, TCP_LAST_ACK, TCP_CLOSING, in the column `st`: a connection that its
# process has closed, and that nobody but the kernel can end.
_CLOSED = frozenset(("04", "05", "06", "09", "0B"))


def listening_inodes() -> Dict[int, Set[int]]:
    """Port -> socket inodes that listen on it, IPv4 and IPv6."""
    ports: Dict[int, Set[int]] = {}
    for fields in sockets.rows():
        if fields[3] == sockets.LISTEN:
            ports.setdefault(int(fields[1].rpartition(":")[2], 16), set()).add(int(fields[9]))
    return ports


def sockets_of(members: Iterable[int]) -> Set[int]:
    """Inodes of the sockets that these processes hold."""
    return {inode for pid in members for inode in sockets.inodes_of(pid)}


def kept_ports(ports: Iterable[int]) -> Dict[int, float]:
    """Those of `ports` that nobody listens on, and that closed connections keep, for how many seconds more as it looks.

    Who binds them meanwhile without SO_REUSEADDR is refused (socket(7)): until the kernel forgets those connections,
    a minute after the last word came over them (TCP_TIMEWAIT_LEN).
    """
    kept: Dict[int, float] = {}
    taken, wanted = set(), set(ports)
    for fields in sockets.rows():
        port = int(fields[1].rpartition(":")[2], 16)
        if port in wanted and fields[3] == sockets.LISTEN:
            taken.add(port)
        elif port in wanted and fields[3] in _CLOSED:
            left = int(fields[5].partition(":")[2], 16) / os.sysconf("SC_CLK_TCK")  # `tm->when`
            kept[port] = max(kept.get(port, 0.0), left)
    return {port: left for port, left in kept.items() if port not in taken}


def holders() -> Dict[int, str]:
    """Who listens on each port, for a person: `pid 812 (nginx -g …)`."""
    ports = {inode: port for port, inodes in listening_inodes().items() for inode in inodes}
    found = dict.fromkeys(ports.values(), "a process of another user")
    left = set(ports)
    for pid in processes.pids():
        held = left & sockets.inodes_of(pid) if left else set()
        for inode in held:
            found[ports[inode]] = f"pid {pid} ({sockets.name(pid)})"
        left -= held
    return found


def holder(port: int) -> str:
    """Who listens on `port`; empty where nobody does."""
    return holders().get(port, "")
