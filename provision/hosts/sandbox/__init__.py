"""A throwaway SSH host on loopback, as the current user and without root.

It has its own sshd, keys, home and PATH, and it shares nothing with `~/.ssh`. One process, the keeper, adopts
whatever is started on the host, so that stopping the sandbox ends all of it.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from provision import linux
from provision.errors import DeployError, UsageError
from provision.hosts.known_hosts import lookup_name
from provision.hosts.sandbox import layout, processes
from provision.hosts.sandbox.layout import Server
from provision.hosts.spec import HostSpec

_START_SECONDS = 20.0
_STOP_SECONDS = 20.0


@dataclass(frozen=True)
class State:
    """What is needed to find a running sandbox again; kept in ROOT/sandbox.json."""

    marker: str
    keeper_pid: int
    keeper_started: str
    port: int
    user: str


class Sandbox:
    """`with Sandbox(root) as host: connect(host.spec)`.

    Args:
        root: a folder of the sandbox's own; made where missing.
        keep: let the host live on when this process ends; `Sandbox.attach(root)` finds it again.
        path: folders that commands on the host find programs in, before the usual ones.
        server: which SSH server to run; `None` takes sshd where there is one.
        settings: lines of sshd_config to put before the sandbox's own.
    """

    def __init__(
        self,
        root: Path,
        *,
        keep: bool = False,
        path: Sequence[Path] = (),
        server: Server | None = None,
        settings: Sequence[str] = (),
    ) -> None:
        self.root = root.absolute()
        self.keep = keep
        self._path = tuple(path)
        self._server = server
        self._settings = tuple(settings)
        self._state: State | None = None
        self._lifeline: int | None = None

    @classmethod
    def attach(cls, root: Path) -> Sandbox:
        """The sandbox that was left running in `root`.

        Raises:
            UsageError: there is none, or it has ended.
        """
        sandbox = cls(root, keep=True)
        try:
            state = State(**json.loads(sandbox._state_file.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"there is no sandbox in {root}") from error
        if processes.start_time(state.keeper_pid) != state.keeper_started:
            raise UsageError(f"the sandbox in {root} has ended", next_step="start it again")
        sandbox._state = state
        return sandbox

    @property
    def home(self) -> Path:
        """HOME on the host."""
        return self.root / "home"

    @property
    def spec(self) -> HostSpec:
        """How to connect to it; nothing but the sandbox's own keys is used."""
        return HostSpec(
            name="sandbox",
            address="127.0.0.1",
            user=self._running.user,
            port=self._running.port,
            identity=self.root / "ssh" / "user_key",
            known_hosts=(self.root / "ssh" / "known_hosts",),
            ssh_config=(),
            use_agent=False,
        )

    def start(self) -> Sandbox:
        """Start the host; one that runs already in the same folder is stopped first.

        Raises:
            UsageError: this is no Linux machine.
            DeployError: the SSH server does not start; its words are in `why`.
        """
        linux.demand(
            "a sandbox", instead='name a machine with SSH: hosts = ["user@host"] of the target, in deploy.toml'
        )
        with contextlib.suppress(UsageError):  # none runs
            Sandbox.attach(self.root).stop()
        marker = secrets.token_hex(8)
        plan = layout.make(self.root, marker, self._path, self._server, self._settings)
        reading, self._lifeline = os.pipe()
        try:
            keeper = subprocess.Popen(
                [sys.executable, "-m", "provision.hosts.sandbox.keeper", str(self.root)],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=(self.root / "keeper.log").open("ab"),
                env={**plan.environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                cwd=self.root,
                start_new_session=True,
            )
        finally:
            os.close(reading)
        port = self._wait_for_port(keeper)
        known = f"{lookup_name('127.0.0.1', port)} {plan.host_key}\n"
        (self.root / "ssh" / "known_hosts").write_text(known)
        started = processes.start_time(keeper.pid)
        self._state = State(marker, keeper.pid, started, port, getpass.getuser())
        self._state_file.write_text(json.dumps(asdict(self._state)))
        if self.keep:
            os.write(self._lifeline, b"k")
            self._let_go()
        return self

    def stop(self) -> None:
        """End everything that runs on the host; its files stay. Does nothing when it has ended.

        Raises:
            DeployError: something on the host does not end.
        """
        state, self._state = self._state, None
        self._let_go()
        if state is None:
            return
        _signal(state.keeper_pid, state.keeper_started, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while processes.start_time(state.keeper_pid) == state.keeper_started and time.monotonic() < deadline:
            processes.reap(state.keeper_pid)
            time.sleep(0.02)
        # Should the keeper itself have been killed, what it kept still carries the marker.
        left = processes.end_all(lambda: processes.marked(state.marker))
        if left:
            raise DeployError(f"the sandbox in {self.root} does not end", why=f"Processes {left} are still there.")
        self._state_file.unlink(missing_ok=True)

    def _let_go(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self.keep:
            self.stop()

    @property
    def _running(self) -> State:
        if self._state is None:
            raise UsageError(f"the sandbox in {self.root} is not running")
        return self._state

    @property
    def _state_file(self) -> Path:
        return self.root / "sandbox.json"

    def _wait_for_port(self, keeper: subprocess.Popen[bytes]) -> int:
        """The keeper writes the port once the server accepts connections."""
        file = self.root / "port"
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and keeper.poll() is None:
            if file.exists():
                return int(file.read_text())
            time.sleep(0.01)
        keeper.kill()
        keeper.wait()
        logs = [path.read_text(errors="replace") for path in sorted(self.root.glob("*.log"))]
        raise DeployError("the sandbox's SSH server does not start", why=" ".join("".join(logs).split()[-60:]))


def _signal(pid: int, started: str, number: int) -> None:
    if processes.start_time(pid) == started:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
