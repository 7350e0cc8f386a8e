"""Words with HAProxy's master, and through it with its workers (management guide, 9.4 "Master CLI").

After a reload the old worker stays for as long as it has something to do. It answers questions, and takes no orders.
"""

from __future__ import annotations

import os
import socket
import time
from typing import List, NamedTuple

from ...contract.failure import FAILED, Failure
from .. import files, nearby

SOCKET = "haproxy.sock"
PID = "haproxy.pid"
_ANSWER_SECONDS = 20.0
_LARGEST = 8 << 20
_DIGITS = 18
_GONE = "Can't connect to the target CLI!"


class Processes(NamedTuple):
    """Who runs, by pid."""

    current: int
    old: List[int]
    failed: int  # reloads since the last that went well

    @property
    def workers(self) -> List[int]:
        return [self.current, *self.old]


class Silent(Failure):
    """For now nobody answers: it begins anew, or what was asked has ended."""


class Absent(Silent):
    """Nobody listens there at all."""


class Master:
    """Who listens at the socket in `folder`. All of it raises Failure where it does not answer in time."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def ask(self, command: str) -> str:
        """What it answers to one line, without space at its ends.

        Raises:
            Silent: nobody does now.
            Failure: it did not in time, or said more than it could have to.
        """
        deadline = time.monotonic() + _ANSWER_SECONDS
        found = bytearray()
        with self._connected() as connection:
            try:
                connection.sendall(command.encode() + b"\n")
                connection.shutdown(socket.SHUT_WR)
                while True:
                    connection.settimeout(max(0.001, deadline - time.monotonic()))
                    part = connection.recv(1 << 16)
                    if not part:
                        break
                    found += part
                    if len(found) > _LARGEST:
                        raise _failed("it says more than it can have to", command)
            except ConnectionError as error:
                raise Silent(FAILED, "HAProxy broke off; it begins anew, or has ended.") from error
            except OSError as error:
                raise _failed(error.strerror or str(error) or "it took too long", command) from error
        return found.decode("utf-8", "replace").strip()

    def tell(self, worker: int, commands: List[str]) -> List[str]:
        """What the worker of that pid answers to each command, one after another.

        Raises:
            Silent: it is not there any more.
        """
        answers = []
        for command in commands:
            # Variables of the process are "experimental" to HAProxy, from 2.4 to this day.
            answer = self.ask(
                ("experimental-mode on; " if command.startswith("set var") else "") + f"@!{worker} {command}"
            )
            if _GONE in answer:
                raise Silent(FAILED, f"HAProxy's worker {worker} is not there any more.")
            answers.append(answer)
        return answers

    def processes(self) -> Processes:
        """Its workers.

        Raises:
            Silent: there are none now.
        """
        now: List[int] = []
        old: List[int] = []
        failed, listed = 0, now
        for line in self.ask("show proc").splitlines():
            words = line.split()
            if line.startswith("#"):
                listed = old if words[1:2] == ["old"] else now
            elif words[1:2] == ["master"]:
                failed = number(line.partition("[failed: ")[2].partition("]")[0])
            elif words[1:2] == ["worker"]:
                listed.append(number(words[0]))
        if not now:
            raise Silent(FAILED, "HAProxy has no worker.")
        return Processes(now[0], old, failed)

    def lives(self) -> bool:
        """Whether it is there, though it may not answer: while it begins anew its socket is away.

        It wrote its pid, and has this folder for its own; no other process of that number would.
        """
        try:
            with files.open_plain(os.path.join(self._folder, PID)) as stream:
                pid = int(stream.read(20))
            return os.path.samefile(f"/proc/{pid}/cwd", self._folder)
        except (OSError, ValueError):
            return False

    def _connected(self) -> socket.socket:
        try:
            return nearby.connect(self._folder, SOCKET, _ANSWER_SECONDS)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise Absent(FAILED, "HAProxy does not run.", f"Nobody listens at {self._folder}/{SOCKET}.") from error
        except OSError as error:
            raise _failed(error.strerror or str(error), "connect") from error


def number(said: str) -> int:
    """What HAProxy has in a place for a number; nothing is 0.

    Raises:
        Failure: it is none.
    """
    if not said.isdecimal() and said:
        raise Failure(FAILED, "HAProxy does not say what it can say.", f"{said[:40]!r} is no number.")
    return int(said[:_DIGITS] or 0)


def _failed(why: str, command: str) -> Failure:
    return Failure(FAILED, f"HAProxy did not answer {command.split()[0]!r}.", f"{why[:1].upper()}{why[1:]}.")
