"""Processes and listening sockets as the kernel tells them (proc(5))."""

from __future__ import annotations

import os
from typing import Dict, Iterable, List, Optional, Set, Tuple

from . import commands, sockets

_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp, column `st`


def _stat(pid: int) -> List[str]:
    """The fields of /proc/PID/stat from `state` on: the name before may hold anything, so split after its `)`."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
        return stream.read().rpartition(")")[2].split()


def start_time(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 where there is none. With the pid it names a process."""
    try:
        return int(_stat(pid)[19])
    except (OSError, IndexError, ValueError):
        return 0


def alive(pid: int) -> bool:
    """Whether the process runs: neither gone nor a zombie."""
    try:
        return _stat(pid)[0] != "Z"
    except (OSError, IndexError):
        return False


def boot_id() -> str:
    """Differs from boot to boot; in a container that is restarted, from start to start (process 1's age)."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return f"{stream.read().strip()}-{start_time(1)}"


def pids() -> List[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


Table = Dict[int, Tuple[int, int]]


def table() -> Table:
    """Every process: pid -> (parent, session)."""
    found = {}
    for pid in pids():
        try:
            fields = _stat(pid)
            found[pid] = int(fields[1]), int(fields[3])
        except (OSError, IndexError, ValueError):
            continue
    return found


def family(roots: Iterable[int], known: Optional[Table] = None) -> Set[int]:
    """These processes and all that descend from them or share a session that one of them leads."""
    known = table() if known is None else known
    found = {pid for pid in roots if pid in known}
    leaders = {pid for pid in found if known[pid][1] == pid}
    found |= {pid for pid, (_, session) in known.items() if session in leaders}
    grown = True
    while grown:
        more = {pid for pid, (parent, _) in known.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found


def memory_bytes(members: Iterable[int]) -> int:
    """Resident memory of these processes; shared pages counted once a process."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for pid in members:
        try:
            with open(f"/proc/{pid}/statm", encoding="ascii") as stream:
                total += int(stream.read().split()[1]) * page
        except (OSError, IndexError, ValueError):
            continue
    return total


def listening_inodes() -> Dict[int, Set[int]]:
    """Port -> socket inodes that listen on it, IPv4 and IPv6."""
    ports: Dict[int, Set[int]] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as stream:
                lines = stream.read().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN:
                ports.setdefault(int(fields[1].rpartition(":")[2], 16), set()).add(int(fields[9]))
    return ports


def listens(members: Iterable[int], port: int) -> bool:
    """Whether one of these processes holds a listening socket on `port`."""
    wanted = listening_inodes().get(port, set())
    return any(wanted & sockets.inodes_of(pid) for pid in members)


def holders() -> Dict[int, str]:
    """Who listens on each port, for a person: `pid 812 (nginx -g …)`."""
    ports = {inode: port for port, inodes in listening_inodes().items() for inode in inodes}
    found = dict.fromkeys(ports.values(), "a process of another user")
    left = set(ports)
    for pid in pids():
        held = left & sockets.inodes_of(pid) if left else set()
        for inode in held:
            found[ports[inode]] = f"pid {pid} ({sockets.name(pid)})"
        left -= held
    return found


def holder(port: int) -> str:
    """Who listens on `port`; empty where nobody does."""
    return holders().get(port, "")


def working_in(folder: str) -> Set[str]:
    """Names of direct children of `folder` that some process has as its working directory or program."""
    prefix = folder.rstrip("/") + "/"
    names = set()
    for pid in pids():
        for link in ("cwd", "exe"):
            try:
                target = os.readlink(f"/proc/{pid}/{link}")
            except OSError:
                continue
            if target.startswith(prefix):
                names.add(target[len(prefix) :].split("/", 1)[0])
    return names


def is_told(path: str) -> bool:
    """Whether the environment of some process has a path below the folder `path`."""
    told = os.fsencode(f"={path}/")
    for pid in pids():
        try:
            with open(f"/proc/{pid}/environ", "rb") as stream:
                if told in stream.read():
                    return True
        except OSError:
            continue
    return False


def version(program: str, seconds: float) -> Tuple[int, str]:
    """How `PROGRAM --version` ends, and the last line of what it says: whether it runs here at all.

    Raises:
        OSError, subprocess.TimeoutExpired: it does not start, or does not end.
    """
    done = commands.ask([program, "--version"], seconds)
    said = done.output.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no output"]
    return done.status, said[0]
