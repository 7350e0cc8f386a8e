"""The processes of a host, read from the outer machine's /proc, so that nothing inside has to cooperate."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """One process of a host. `pid` and `ppid` are the numbers that the host itself sees; `outer_pid` is ours."""

    pid: int
    ppid: int
    outer_pid: int
    argv: tuple[str, ...]
    environ: dict[str, str]
    state: str

    @property
    def stopped(self) -> bool:
        """Whether it is stopped, by a signal or by a tracer."""
        return self.state in "Tt"


def start_time(pid: int) -> str:
    """When `pid` was started, in ticks since boot; with it a number names one process for ever.

    Raises:
        OSError: there is no such process.
    """
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def processes_of(init: int) -> list[Process]:
    """Every process in the pid namespace whose PID 1 is `init` on the outer machine; zombies are left out."""
    try:
        namespace = (Path("/proc") / str(init) / "ns/pid").readlink()
    except OSError:
        return []
    found = list(_numbers_in(namespace))
    inner = {outer: pid for outer, pid, _, _ in found}
    result = []
    for outer, pid, parent, state in found:
        try:
            argv = _strings(Path(f"/proc/{outer}/cmdline").read_bytes())
            pairs = _strings(Path(f"/proc/{outer}/environ").read_bytes())
        except OSError:
            continue  # it ended while we were reading
        environ = dict(pair.partition("=")[::2] for pair in pairs)
        result.append(Process(pid, inner.get(parent, 0), outer, tuple(argv), environ, state))
    return sorted(result, key=lambda process: process.pid)


def _numbers_in(namespace: Path) -> Iterator[tuple[int, int, int, str]]:
    """(outer pid, inner pid, outer parent, state), from /proc/PID/status; the last NSpid is the innermost."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            if Path(entry.path, "ns/pid").readlink() != namespace:
                continue
            lines = Path(entry.path, "status").read_text(errors="replace").splitlines()
        except OSError:
            continue
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        if status["State"][0] not in "ZX":
            yield int(entry.name), int(status["NSpid"].split()[-1]), int(status["PPid"]), status["State"][0]


def _strings(block: bytes) -> list[str]:
    return [os.fsdecode(item) for item in block.split(b"\0")[:-1]]
