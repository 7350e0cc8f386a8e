"""Waiting for a service: until it serves, and until no request to it is in flight.

Launchers hold this file as it is, behind `sockets`, because systemd asks them (`launch ready`, `launch idle`). So both
stand alone. Where a supervisor has no place for the question, the agent asks before it stops a program.
"""

import http.client
import io
import math
import os
import sys
import time
from typing import Callable, List, Optional, Set, Tuple

from .sockets import Bearer, Guarded, Withheld

Answer = Tuple[bool, str]  # whether it is so, and what was seen

_SECONDS = 5.0  # for one answer
_LARGEST = 8 << 20  # bytes of one


def is_ready(port: int, path: str, statuses: List[str]) -> Answer:
    """Whether it answers with one of `statuses`."""
    try:
        status, _ = _get(port, path, 0)
    except (OSError, http.client.HTTPException) as error:
        return False, str(error)
    return str(status) in statuses, f"HTTP {status}"


def is_idle(port: int, path: str, gauges: List[str], bearer: Optional[Bearer] = None) -> Answer:
    """Whether all of `gauges`, in Prometheus' text format, are 0. Who does not tell is not waited for.

    A service that takes no connection is busy. So is one that may be another's, as far as we can see: not every process
    lets us look.
    """
    try:
        status, content = _get(port, path, _LARGEST + 1, bearer)
        if status != 200:
            return True, f"HTTP {status} does not tell what is in flight"
        if len(content) > _LARGEST:
            return True, f"more than {_LARGEST >> 20} MiB do not tell what is in flight"
        # Line by line: a list of them would take many times their room.
        lines = io.TextIOWrapper(io.BytesIO(content), "utf-8", "replace")
        samples = (line.rstrip("\r\n").rsplit(" ", 1) for line in lines if line.strip() and not line.startswith("#"))
        busy = sum(float(value) for name, value in samples if name.partition("{")[0] in gauges)
        if not math.isfinite(busy):
            raise ValueError
    except ConnectionRefusedError:
        return True, "nothing listens"
    except Withheld as why:
        return why.named, str(why)
    except ValueError:  # what it says may hold the secret
        return True, "no header can hold its secret, or its gauges are no numbers"
    except (OSError, http.client.HTTPException) as error:
        return False, str(error)
    return busy == 0, f"{busy:g} requests in flight"


def wait(question: Callable[[], Answer], seconds: float, over: Callable[[], bool]) -> Tuple[bool, str]:
    """Ask until it is so, until `over`, or for so many seconds: whether it is, and a sentence about it."""
    began = time.monotonic()
    while True:
        done, seen = question()
        spent = time.monotonic() - began
        if done or over() or spent > seconds:
            return done, f"after {spent:.1f} s: {seen}"
        time.sleep(0.05)


def _get(port: int, path: str, largest: int, bearer: Optional[Bearer] = None) -> Tuple[int, bytes]:
    connection = Guarded("127.0.0.1", port, _SECONDS, bearer)
    try:
        answer, content = connection.ask("GET", path, largest)
        return answer.status, content
    finally:
        connection.close()


def _secret(name: str) -> str:
    """The secret `name` of the environment, or of the file that the environment names."""
    if not name or name in os.environ:
        return os.environ.get(name, "")
    with open(os.environ[name + "_FILE"], encoding="utf-8", newline="") as stream:
        return stream.read()


def _main_process_ended() -> bool:
    # systemd names no process where it has ended before; one that ends later is named on: systemd waits for us first.
    try:
        os.kill(int(os.environ["MAINPID"]), 0)
    except (KeyError, ProcessLookupError):
        return True
    except PermissionError:
        pass
    return False


def _unit() -> Set[int]:
    """The processes of the unit that we are in: its control group has them all, and nobody else may enter it."""
    ours = _group("self")
    found = {pid: _group(pid) for pid in os.listdir("/proc") if pid.isdigit()} if ours else {}
    return {int(pid) for pid, group in found.items() if group == ours or group.startswith(ours + "/")}


def _group(pid: str) -> str:
    """The control group that systemd has a process in (cgroups(7)); empty where there is none."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as stream:
            lines = (line.rstrip("\n").split(":", 2) for line in stream)
            groups = {controllers: path for _, controllers, path in lines}
    except (OSError, ValueError):
        return ""
    group = groups.get("name=systemd", groups.get("", ""))
    # Where a unit delegates its group, systemd runs what we are, a control process, in a part of it.
    return group[: -len("/.control")] if group.endswith("/.control") else group.rstrip("/")


def main(words: List[str]) -> int:
    question, seconds, port, path = words[0], float(words[1]), int(words[2]), words[3]
    if question == "ready":
        done, said = wait(lambda: is_ready(port, path, words[4:]), seconds, _main_process_ended)
    else:
        token = _secret(words[4])
        bearer = Bearer(token, "this unit", _unit) if token else None
        done, said = wait(lambda: is_idle(port, path, words[5:], bearer), seconds, _main_process_ended)
    print(question if done else "not " + question, said)  # noqa: T201  the journal has it
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
