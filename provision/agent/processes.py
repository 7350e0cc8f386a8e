"""Processes as the kernel tells them (proc(5))."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Callable, Dict, Iterable, Iterator, List, Set, Tuple

from . import commands

_END_POLL = 0.05
_KILL_SECONDS = 5.0  # the kernel ends a killed process within this, or it hangs in a driver


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


def ticks(pid: int) -> int:
    """How long it has computed, in clock ticks; 0 where there is none."""
    try:
        return sum(map(int, _stat(pid)[11:13]))
    except (OSError, ValueError):
        return 0


def alive(pid: int) -> bool:
    """Whether the process runs: neither gone nor a zombie."""
    try:
        return _stat(pid)[0] != "Z"
    except (OSError, IndexError):
        return False


def lives(pid: int, began: int) -> bool:
    """Whether the process of that start time is alive."""
    return alive(pid) and start_time(pid) == began


def age(pid: int) -> float:
    """For how many seconds a process has been there; 0 for none."""
    began = start_time(pid)
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began / os.sysconf("SC_CLK_TCK") if began else 0.0


def pids() -> List[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


class Table:
    """Processes as they were at one time.

    Args:
        rows: pid -> (parent, session).
    """

    def __init__(self, rows: Dict[int, Tuple[int, int]]) -> None:
        self._rows = rows
        self._children: Dict[int, List[int]] = {}
        self._sessions: Dict[int, List[int]] = {}
        for pid, (parent, session) in rows.items():
            self._children.setdefault(parent, []).append(pid)
            self._sessions.setdefault(session, []).append(pid)

    def without(self, pids: Set[int]) -> Table:
        return Table({pid: row for pid, row in self._rows.items() if pid not in pids})

    def family(self, roots: Iterable[int]) -> Set[int]:
        """These processes and all that descend from them or share a session that one of them leads."""
        found = {pid for pid in roots if pid in self._rows}
        for pid in [pid for pid in found if self._rows[pid][1] == pid]:
            found.update(self._sessions[pid])
        parents = list(found)
        while parents:
            new = [pid for pid in self._children.get(parents.pop(), ()) if pid not in found]
            found.update(new)
            parents += new
        return found

    def ancestors(self, pid: int) -> Set[int]:
        """The process and all that it descends from."""
        found: Set[int] = set()
        while pid in self._rows and pid not in found:
            found.add(pid)
            pid = self._rows[pid][0]
        return found


def table() -> Table:
    """Every process, as they are now."""
    found = {}
    for pid in pids():
        try:
            fields = _stat(pid)
            found[pid] = int(fields[1]), int(fields[3])
        except (OSError, IndexError, ValueError):
            continue
    return Table(found)


def family(roots: Iterable[int]) -> Set[int]:
    """As `Table.family`, of now."""
    return table().family(roots)


def environs() -> Iterator[Tuple[int, bytes]]:
    """Each process with the environment that it was started with, as far as we may read those."""
    for pid in pids():
        try:
            with open(f"/proc/{pid}/environ", "rb") as stream:
                yield pid, stream.read()
        except OSError:
            continue


def accounts(pid: int) -> Set[int]:
    """The uids that a process has: real, effective, saved. One that another account started by a setuid program has
    that account's among them; one that has ended has -1.
    """
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as stream:
            line = next(line for line in stream if line.startswith("Uid:"))
        return {int(word) for word in line.split()[1:4]}
    except (OSError, StopIteration, ValueError):
        return {-1}


def end(find: Callable[[], Iterable[int]], seconds: float) -> Set[int]:
    """End all processes that `find` finds, until it finds none: politely, and after `seconds` by force.

    Returns:
        Those that are still there.
    """
    until = time.monotonic() + seconds
    told: Dict[int, int] = {}
    while True:
        left = {pid for pid in find() if alive(pid)}
        if not left or time.monotonic() > until + _KILL_SECONDS:
            return left
        force = time.monotonic() > until
        for pid in left:
            began = start_time(pid)
            if force or told.get(pid) != began:
                told[pid] = began
                _send(pid, signal.SIGKILL if force else signal.SIGTERM)
        time.sleep(_END_POLL)


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # gone meanwhile, or not ours to end: then it is among those that are left


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


def command(pid: int) -> List[str]:
    """The words that a process was started with; none where it has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            return stream.read().decode("utf-8", "replace").split("\0")[:-1]
    except OSError:
        return []


def descriptors(pid: int) -> Tuple[int, int]:
    """How many files a process may have open, and how many it has; 0 where that is not told."""
    try:
        with open(f"/proc/{pid}/limits", encoding="ascii") as stream:
            limits = [line.split() for line in stream if line.startswith("Max open files")]
        return int(limits[0][3]), len(os.listdir(f"/proc/{pid}/fd"))
    except (OSError, ValueError, IndexError):
        return 0, 0


def working_in(folder: str, deep: int = 1) -> Dict[str, Set[int]]:
    """What some process has as its working directory or program, or above it, so many names below `folder`; and who."""
    prefix = os.path.realpath(folder).rstrip("/") + "/"  # the kernel tells where links lead
    names: Dict[str, Set[int]] = {}
    for pid in pids():
        for link in ("cwd", "exe"):
            try:
                target = os.readlink(f"/proc/{pid}/{link}")
            except OSError:
                continue
            if target.startswith(prefix):
                names.setdefault("/".join(target[len(prefix) :].split("/")[:deep]), set()).add(pid)
    return names


def writes(pid: int, file: os.stat_result) -> bool:
    """Whether a process has the file open for writing, or mapped so; False also where we may not know."""
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                if os.path.samestat(os.stat(f"/proc/{pid}/fd/{fd}"), file):
                    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii", errors="replace") as stream:
                        flags = next((line.split()[1] for line in stream if line.startswith("flags:")), "0")
                    if int(flags, 8) & (os.O_WRONLY | os.O_RDWR):
                        return True
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as stream:
            mapped = [line.split(" ", 5) for line in stream]
    except OSError:
        return False
    device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}"
    return any(
        fields[1][1] + fields[1][3] == "ws" and fields[3] == device and int(fields[4]) == file.st_ino
        for fields in mapped
    )


def is_told(path: str) -> bool:
    """Whether the environment of some process has a path below the folder `path`, as it is or with links followed."""
    told = {os.fsencode(f"={way}/") for way in (path, os.path.realpath(path))}
    return any(each in environ for _, environ in environs() for each in told)


def version(program: str, seconds: float) -> Tuple[int, str]:
    """How `PROGRAM --version` ends, and the last line of what it says: whether it runs here at all.

    Raises:
        OSError, subprocess.TimeoutExpired: it does not start, or does not end.
    """
    done = commands.ask([program, "--version"], seconds)
    said = done.output.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no output"]
    return done.status, said[0]
