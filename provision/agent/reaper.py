"""Runs one command, and ends whatever descends from it, however that detached itself. A program of its own.

As a subreaper (prctl(2), PR_SET_CHILD_SUBREAPER) it becomes the parent of every orphan among its descendants, so that
a double fork, setsid(2) or nohup(1) takes nothing out of its reach. It ends them when the command has ended, when its
time is over, and when its standard input ends, which it does with whoever started this, even by SIGKILL.

The first line of its input is the request, so that no value stands in its arguments. It stands alone.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, Dict, List, Optional, Set, Tuple

if TYPE_CHECKING:
    from .reaped import Asked, News

_PDEATHSIG, _SUBREAPER = 1, 36  # linux/prctl.h
_END_SECONDS = 5.0  # what does not die of SIGKILL within it hangs in the kernel, or is another account's
_POLL = 0.005


def main() -> None:
    request = _request()
    for descriptor in [request["tell"], *request["hold"]]:
        os.set_inheritable(descriptor, False)
    _prctl(_SUBREAPER, 1)
    woken = _signals()

    def tell(facts: News) -> None:
        os.write(request["tell"], (json.dumps(facts) + "\n").encode())

    try:
        first = _start(request)
    except OSError as error:
        tell({"error": error.errno or 0})
        return
    tell({"pid": first})
    until = time.monotonic() + request["seconds"]
    status: Optional[int] = None
    asked = False
    while status is None and not asked and time.monotonic() < until:
        ready, _, _ = select.select([0, woken], [], [], max(0.0, until - time.monotonic()))
        asked = (0 in ready and not os.read(0, 4096)) or (
            woken in ready and any(number != signal.SIGCHLD for number in os.read(woken, 4096))
        )
        status, _ = _reap(first)
    late = status is None and not asked
    ended, left, last = _end_all(first)
    tell({"status": last if status is None else status, "late": late, "ended": ended, "left": left})


def _request() -> Asked:
    line = b""
    while not line.endswith(b"\n"):
        block = os.read(0, 1 << 16)
        if not block:
            sys.exit(0)
        line += block
    asked: Asked = json.loads(line)
    return asked


def _prctl(option: int, value: int) -> None:
    # Where the kernel knows no subreapers, what detaches itself twice gets away; the rest still works.
    ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


def _signals() -> int:
    """What becomes readable at a signal: a child ended, or somebody wants us to end."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return woken


def _start(request: Asked) -> int:
    """Its pid. Raises OSError where it can't be started."""
    failed, fail = os.pipe()
    ours = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            _prctl(_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != ours:
                os._exit(1)
            for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(1, 2)
            os.chdir(request["cwd"])
            os.execvpe(request["argv"][0], request["argv"], request["env"])  # noqa: S606  no shell is what we want
        except OSError as error:
            os.write(fail, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(fail)
    said = os.read(failed, 16)
    os.close(failed)
    if said:
        os.waitpid(pid, 0)
        raise OSError(int(said), os.strerror(int(said)))
    # Nobody but what runs holds its output open: who reads it sees the end.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    return pid


def _reap(first: int) -> Tuple[Optional[int], bool]:
    """How `first` ended, if that is told now, and whether there is any child left."""
    status = None
    while True:
        try:
            pid, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status, False
        if pid == 0:
            return status, True
        if pid == first:
            status = -os.WTERMSIG(how) if os.WIFSIGNALED(how) else os.WEXITSTATUS(how)


def _end_all(first: int) -> Tuple[int, int, Optional[int]]:
    """Kill every descendant: how many were there besides the first, how many live on, and how the first ended."""
    seen: Set[int] = set()
    last: Optional[int] = None
    until = time.monotonic() + _END_SECONDS
    while True:
        status, some = _reap(first)
        last = status if last is None else last
        living = _descendants() if some else set()
        if not some or time.monotonic() > until:
            return len(seen - {first}), len(living), last
        for pid in living:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass  # it ended meanwhile, or is another account's
        seen |= living
        time.sleep(_POLL)


def _descendants() -> Set[int]:
    children: Dict[int, List[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stream:
                    state, parent = stream.read().rpartition(")")[2].split()[:2]
            except (OSError, ValueError):
                continue
            children.setdefault(int(parent), []).append(int(name))
            if state == "Z":  # it has ended; its parent has not looked yet
                children[int(parent)].pop()
    found: Set[int] = set()
    parents = [os.getpid()]
    while parents:
        for child in children.get(parents.pop(), []):
            found.add(child)
            parents.append(child)
    return found


if __name__ == "__main__":
    main()
