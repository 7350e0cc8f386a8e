"""Waiting for a service: until it serves, and until no request to it is in flight.

Launchers hold this file as it is, because systemd asks them (`launch ready`, `launch idle`). So it stands alone. Where
a supervisor has no place for the question, the agent asks before it stops a program.
"""

import http.client
import os
import sys
import time
from typing import Callable, Dict, List, Tuple

Answer = Tuple[bool, str]  # whether it is so, and what was seen


def is_ready(port: int, path: str, statuses: List[str]) -> Answer:
    """Whether it answers with one of `statuses`."""
    try:
        status, _ = _get(port, path, {})
    except (OSError, http.client.HTTPException) as error:
        return False, str(error)
    return str(status) in statuses, f"HTTP {status}"


def is_idle(port: int, path: str, gauges: List[str], token: str) -> Answer:
    """Whether all of `gauges`, in Prometheus' text format, are 0. Who does not tell is not waited for."""
    try:
        status, text = _get(port, path, {"Authorization": "Bearer " + token} if token else {})
        if status != 200:
            return True, f"HTTP {status} does not tell what is in flight"
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        busy = sum(float(value) for name, value in samples if name.partition("{")[0] in gauges)
    except ConnectionRefusedError:
        return True, "nothing listens"
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


def _get(port: int, path: str, headers: Dict[str, str]) -> Tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
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


def main(words: List[str]) -> int:
    question, seconds, port, path = words[0], float(words[1]), int(words[2]), words[3]
    if question == "ready":
        done, said = wait(lambda: is_ready(port, path, words[4:]), seconds, _main_process_ended)
    else:
        token = _secret(words[4])
        done, said = wait(lambda: is_idle(port, path, words[5:], token), seconds, _main_process_ended)
    print(question if done else "not " + question, said)  # noqa: T201  the journal has it
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
