"""A real, unprivileged supervisord to give configuration to."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

from supervisor.xmlrpc import SupervisorTransport

_PATIENCE = 20.0  # seconds; two busy cores need some

_CONFIG = """\
[supervisord]
nodaemon = true
logfile = {folder}/supervisord.log
pidfile = {folder}/supervisord.pid
childlogdir = {folder}

[unix_http_server]
file = {folder}/supervisor.sock
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[include]
files = {folder}/conf.d/*.conf
"""


class Supervisord:
    """A running supervisord, its include folder, and its XML-RPC interface."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.include = folder / "conf.d"
        self.rpc: Any = ServerProxy(
            "http://localhost", transport=SupervisorTransport(None, None, f"unix://{folder}/supervisor.sock")
        ).supervisor

    def load(self, files: dict[str, str]) -> None:
        """Include more files, and take on the programs in them; those that are there already go on."""
        for name, text in files.items():
            (self.include / name).write_bytes(text.encode())
        added, changed, removed = self.rpc.reloadConfig()[0]
        assert not changed
        assert not removed
        for group in added:
            self.rpc.addProcessGroup(group)

    def first_line(self, log: Path) -> str:
        """The first whole line that a program writes."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            with contextlib.suppress(FileNotFoundError):
                text = log.read_text()
                if "\n" in text:
                    return text.partition("\n")[0]
            time.sleep(0.01)
        raise TimeoutError(f"nothing in {log}: {self.rpc.getAllProcessInfo()}")


def _answers(address: Path) -> bool:
    """The file alone is no sign: it is there before anybody listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(address)) == 0


@contextlib.contextmanager
def supervisord(folder: Path) -> Iterator[Supervisord]:
    """Start a supervisord of our own in `folder`, and end it with all that it started."""
    (folder / "conf.d").mkdir(parents=True)
    config = folder / "supervisord.conf"
    config.write_text(_CONFIG.format(folder=folder))
    process = subprocess.Popen(
        [sys.executable, "-m", "supervisor.supervisord", "-c", config], stdout=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + _PATIENCE
        while not _answers(folder / "supervisor.sock"):
            assert process.poll() is None, (folder / "supervisord.log").read_text()
            assert time.monotonic() < until, "supervisord does not listen"
            time.sleep(0.02)
        running = Supervisord(folder)
        yield running
        running.rpc.stopAllProcesses()  # all at once; while it shuts down, supervisord takes one group a second
    finally:
        process.terminate()
        process.wait(_PATIENCE)
