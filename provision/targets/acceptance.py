"""A rented machine shows what it is worth before it is kept: over SSH, with the key that it printed and nobody else's.

What it is asked runs there by its text alone (`agent/alone/measure.py`), and leaves nothing behind. Its ports are tried
from here, which is outside.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provision.agent.alone import program
from provision.errors import DeployError, HostKeyChanged, Refused, Unreachable
from provision.hosts import Channel, HostConnection, HostKey, HostSpec, trust
from provision.hosts.bootstrap import OLDEST_PYTHON
from provision.providers.acceptance import Terms, faults
from provision.providers.api import Clock
from provision.providers.face import Machine, Unfit

if TYPE_CHECKING:
    from provision.contract.measured import Asked, First, Measured, Ports

_CONNECT_SECONDS = 300.0  # a machine that runs may still start its sshd, and take in the key that was let in
_PAUSE = 5.0
_ANSWER_SECONDS = 60.0
_MEASURE_SECONDS = 240.0
_PORT_SECONDS = 10.0
_PORT_TRIES = 3
_NO_SUCH_PROGRAM = 127  # sh(1)


@dataclass(frozen=True)
class Demands:
    """What a machine has to show.

    Attributes:
        path: the target's folder.
        python: the Python there.
        tools: programs that are looked for.
        ports: that are to be reached from outside.
        download: a file that it fetches; empty: none.
    """

    terms: Terms
    path: str
    python: str
    tools: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    download: str = ""


@dataclass(frozen=True)
class Shown:
    """What it has shown: its kind of processor, and the tools that it lacks.

    Attributes:
        measured: None where something is deployed there already.
    """

    machine: str
    missing: tuple[str, ...]
    measured: Measured | None = None


class NoPython(Refused):
    """A machine's image has no Python that an agent runs on; on no other machine would it have one."""


@dataclass(frozen=True)
class Acceptance:
    """Has a machine show what it is worth.

    Attributes:
        connect: to a host.
        now: seconds since 1970, by a clock that can be believed.
        clock: how time goes; tests make it go fast.
    """

    connect: Callable[[HostSpec], HostConnection]
    now: Callable[[], float]
    clock: Clock

    @contextmanager
    def met(self, machine: Machine, spec: HostSpec, key: HostKey) -> Iterator[HostConnection]:
        """A connection to it, if it has `key`; nothing is pinned by that.

        Raises:
            Unfit: whoever answers has another key, or nobody does.
        """
        with tempfile.TemporaryDirectory() as folder:
            alone = replace(spec, known_hosts=(Path(folder, "known_hosts"),))
            trust(alone, alone.known_hosts[0], key=key)
            try:
                connection = self._connected(alone)
            except HostKeyChanged as other:
                what = f"machine {machine.id} printed another host key than the one that answers where it is reached."
                raise Unfit(what, why=other.what) from other
            except Unreachable as nobody:
                raise Unfit(f"machine {machine.id} runs, and can't be reached.", why=str(nobody)) from nobody
            with connection:
                yield connection

    def _connected(self, spec: HostSpec) -> HostConnection:
        until = self.clock.now() + _CONNECT_SECONDS
        while True:
            try:
                return self.connect(spec)
            except Unreachable:
                if self.clock.now() > until:
                    raise
                self.clock.sleep(_PAUSE)

    def shown(self, connection: HostConnection, machine: Machine, demands: Demands, *, is_new: bool) -> Shown:
        """What it shows.

        Args:
            is_new: it was rented just now. One that was there already, and that something is deployed to, shows
                nothing: what serves there has its GPU and its ports.

        Raises:
            Unfit: it is not what was offered, or does not show it.
        """
        text = program("alone/measure", "alone/cuda", call="raise SystemExit(main())")
        nonce = secrets.token_hex(8)
        asked: Asked = {
            "path": demands.path,
            "ports": list(demands.ports),
            "nonce": nonce,
            "tools": list(demands.tools),
            "gpus": demands.terms.gpus > 0,
            "written": demands.terms.written,
            "download": demands.download,
        }
        try:
            with connection.session([demands.python, "-I", "-c", text]) as channel:
                channel.send_line(json.dumps(asked).encode())
                first: First = _line(channel, _ANSWER_SECONDS)
                if first["deployed"] and not is_new:
                    return Shown(first["machine"], tuple(first["missing"]))
                now = self.now()
                channel.send_line(b"go")
                ports: Ports = _line(channel, _ANSWER_SECONDS)
                closed = _closed(machine, ports, nonce)
                measured: Measured = _line(channel, _MEASURE_SECONDS)
                wrong = [*faults(demands.terms, first, measured, closed, now)]
        except Unfit:
            raise
        except (DeployError, TimeoutError, ValueError, KeyError, TypeError, AttributeError) as failure:
            raise Unfit(f"machine {machine.id} does not show what it is worth.", why=str(failure)[:500]) from failure
        if wrong:
            unfit = Unfit(f"machine {machine.id} is not as it was offered: {'; '.join(wrong)}.")
            unfit.is_unused = True
            raise unfit
        return Shown(first["machine"], tuple(first["missing"]), measured)


def demand_python(connection: HostConnection, python: str) -> None:
    """Refuse an image that an agent can't run on.

    Raises:
        NoPython: it has none, or too old a one.
    """
    done = connection.run([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], timeout=_ANSWER_SECONDS)
    if done.rc == _NO_SUCH_PROGRAM:
        raise NoPython(f"the image has no {python}, and nothing can be deployed without one.")
    had, needed = done.stdout.decode(errors="replace").strip(), ".".join(map(str, OLDEST_PYTHON))
    if re.fullmatch(r"\d+\.\d+", had) and tuple(map(int, had.split("."))) < OLDEST_PYTHON:
        raise NoPython(f"the image's {python} is {had}, and {needed} is needed.")


def _line(channel: Channel, seconds: float) -> Any:
    line = channel.read_line(seconds)
    if line is None:
        said = channel.stderr_tail().decode(errors="replace").strip().splitlines()
        raise ValueError(f"it ended: {said[-1] if said else 'without a word'}")
    return json.loads(line)


def _closed(machine: Machine, ports: Ports, nonce: str) -> list[int]:
    """Those that can't be reached from here; where somebody else listens, whoever answers will do."""
    asked = [(port, nonce) for port in ports["listening"]] + [(port, "") for port in ports["taken"]]

    def is_open(port: int, said: str) -> bool:
        address = machine.ports.get(port)
        return address is not None and any(_answers(address, said) for _ in range(_PORT_TRIES))

    with ThreadPoolExecutor(max_workers=16) as together:
        return [
            port
            for (port, _), opened in zip(asked, together.map(lambda each: is_open(*each), asked), strict=True)
            if not opened
        ]


def _answers(address: tuple[str, int], said: str) -> bool:
    try:
        with socket.create_connection(address, _PORT_SECONDS) as line:
            return not said or line.makefile("rb").readline(len(said) + 1) == f"{said}\n".encode()
    except OSError:
        return False
