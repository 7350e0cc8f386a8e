"""Kill a process of a host at a chosen system call: strace, running on the host, injects the signal.

strace counts calls for each process on its own and kills at the entry of the call, so the call itself never happens:
`Kill(when=3)` is a host on which two calls were made and the third was not.
"""

import contextlib
import itertools
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.host import TestHost
from tests.testbed.problems import TestBedProblem
from tests.testbed.processes import Process

# What changes a disk or the world. openat is left out: reading opens files thousands of times, and a file that was
# only created is the state in which the first write of it is killed. `?`: not every architecture has the call.
MUTATING = ",".join(
    [
        "?write,?writev,?pwrite64,?pwritev,?sendfile,?copy_file_range,?fallocate,?truncate,?ftruncate",
        "?fsync,?fdatasync,?sync_file_range,?syncfs",
        "?creat,?mkdir,?mkdirat,?link,?linkat,?symlink,?symlinkat",
        "?rename,?renameat,?renameat2,?unlink,?unlinkat,?rmdir",
        "?chmod,?fchmod,?fchmodat,?chown,?fchown,?lchown,?fchownat,?utimensat,?fsetxattr",
        "?flock,?setsid,?execve,?kill,?connect,?sendto,?sendmsg",
    ]
)
_WAIT_SECONDS = 10
# What strace writes when the process stands still for good, not only for strace to look at it.
_STOPPED = "--- stopped by SIGSTOP ---"
_LOGS = itertools.count(1)


@dataclass(frozen=True)
class Kill:
    """Send `signal` at the entry of the call number `when` of each process, counted from 1 among `calls`."""

    when: int
    calls: str = MUTATING
    signal: str = "SIGKILL"

    @property
    def argument(self) -> str:
        return f"--inject={self.calls}:signal={self.signal}:when={self.when}"


@dataclass(frozen=True)
class Trace:
    """The record of one tracing."""

    host: TestHost
    folder: str

    def calls(self) -> dict[int, list[str]]:
        """The traced calls of each process, by pid, as strace writes them."""
        names = self.host.exec(["sh", "-c", f"cd {self.folder} && ls"]).stdout.split()
        texts = {int(name.rpartition(".")[2]): self.host.read(f"{self.folder}/{name}") for name in names}
        return {pid: text.decode(errors="replace").splitlines() for pid, text in texts.items()}


def traced(host: TestHost, argv: list[str], kill: Kill | None = None, calls: str = MUTATING) -> tuple[list[str], Trace]:
    """The arguments that run `argv` on the host under strace, children too, and where its record will be."""
    trace = Trace(host, _folder(host))
    return [*_strace(trace, kill, calls), "--", *argv], trace


@contextlib.contextmanager
def attached(host: TestHost, pid: int, kill: Kill | None = None, calls: str = MUTATING) -> Iterator[Trace]:
    """Trace a running process and what it forks from now on. A process that `stopped_at` stopped goes on by this.

    Raises:
        TestBedProblem: strace could not attach.
    """
    trace = Trace(host, _folder(host))
    tracer = subprocess.Popen(
        host.inside([*_strace(trace, kill, calls), "-p", str(pid)]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        outer = host.outer_pid(pid)
        _until(lambda: _tracer_of(outer) != 0 or tracer.poll() is not None, f"strace did not attach to {pid}")
        if tracer.poll() is not None:
            said = tracer.stderr.read().decode() if tracer.stderr else ""
            raise TestBedProblem(f"strace did not attach to {pid}: {said}", "is it alive, and traced by nobody?")
        with contextlib.suppress(StopIteration, ProcessLookupError):
            host.kill(pid, 18)  # SIGCONT
        yield trace
    finally:
        tracer.terminate()
        tracer.communicate()


@contextlib.contextmanager
def replaced(host: TestHost, program: str, kill: Kill | None = None, calls: str = MUTATING) -> Iterator[Trace]:
    """While this lasts, whoever starts `program` on the host starts it under strace, its children too.

    strace runs as a detached grandchild, so the program keeps its parent, its pid and its exit status.
    """
    trace = Trace(host, _folder(host))
    real = host.exec(["readlink", "-f", program]).stdout.strip()
    command = " ".join(f"'{word}'" for word in [*_strace(trace, kill, calls), "--daemonize=session", "--", real])
    kept = f"{program}.testbed-kept"
    host.exec(["mv", program, kept])
    if real == program:  # no link: what moved is the program itself
        command = command.replace(f"'{real}'", f"'{kept}'")
    host.write(program, f'#!/bin/sh\nexec {command} "$@"\n', mode=0o755)
    try:
        yield trace
    finally:
        host.exec(["mv", kept, program])


@contextlib.contextmanager
def stopped_at(host: TestHost, program: str, call: str) -> Iterator["Stopped"]:
    """While this lasts, each process of `program` stops at its first `call`, say `setsid`, and waits there.

    So a forked worker is caught before its first step and `attached` can count its calls from there.
    """
    with replaced(host, program, Kill(1, calls=call, signal="SIGSTOP"), calls=call) as trace:
        yield Stopped(host, trace)


@dataclass(frozen=True)
class Stopped:
    """What `stopped_at` catches."""

    host: TestHost
    trace: Trace

    def wait(self) -> Process:
        """The process that stopped, freed of its tracer but still stopped.

        Raises:
            TestBedProblem: none did in time.
        """
        found: list[Process] = []

        def caught() -> bool:
            stopped = {pid for pid, calls in self.trace.calls().items() if _STOPPED in "".join(calls)}
            found[:] = [p for p in self.host.processes() if p.pid in stopped and p.stopped]
            return bool(found)

        _until(caught, "no process stopped")
        outer = found[0].outer_pid
        tracer = next(p for p in self.host.processes() if p.outer_pid == _tracer_of(outer))
        self.host.kill(tracer.pid, 15)
        _until(lambda: _tracer_of(outer) == 0, "strace did not let go")
        return found[0]


def _strace(trace: Trace, kill: Kill | None, calls: str) -> list[str]:
    # --seccomp-bpf would be faster but cannot be attached, and all modes should behave alike.
    # Interruptible: or a strace that started its program itself would ignore being ended.
    options = ["-ff", "-qqq", "--interruptible=waiting", f"--output={trace.folder}/call", f"--trace={calls}"]
    return ["strace", *options, *([kill.argument] if kill else [])]


def _folder(host: TestHost) -> str:
    folder = f"/var/tmp/strace-{next(_LOGS)}"
    host.exec(["mkdir", "-m", "1777", folder])
    return folder


def _tracer_of(outer: int) -> int:
    try:
        status = Path(f"/proc/{outer}/status").read_text()
    except OSError:
        return 0
    return int(status.partition("TracerPid:\t")[2].split()[0])


def _until(condition: Callable[[], bool], problem: str) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TestBedProblem(f"{problem} in {_WAIT_SECONDS} s", "look at host.processes()")
        time.sleep(0.005)
