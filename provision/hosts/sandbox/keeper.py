"""The process that keeps a sandbox: starts its SSH server, adopts what is left by it, and ends it all.

    python -m provision.hosts.sandbox.keeper ROOT

Its standard input ends when the starting process does, and the sandbox with it, unless a byte came first: that says
that others can find the sandbox by now, and then it lives until SIGTERM.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from provision.hosts.sandbox import processes
from provision.hosts.sandbox.layout import Server, sshd_path

# prctl(2): a signal for this process when its parent ends; orphans below it become its children instead of init's.
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_PORT_TRIES = 20
_UP_SECONDS = 10.0


def main() -> int:
    root = Path(sys.argv[1])
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    server = _start(root, Server(os.environ["DEPLOY_SANDBOX_SERVER"]))
    lifeline = 0
    watched = [woken, lifeline]
    while server is not None:
        ready, _, _ = select.select(watched, [], [])
        if lifeline in ready:
            if not os.read(lifeline, 1):
                break
            watched.remove(lifeline)
        if woken not in ready:
            continue
        if any(number != signal.SIGCHLD for number in os.read(woken, 512)):
            break
        if server.poll() is not None:
            break
        _reap_orphans(server.pid)
    processes.end_all(lambda: _reaped() or processes.descendants(os.getpid()))
    return 0 if server is not None else 1


def _start(root: Path, kind: Server) -> subprocess.Popen[bytes] | None:
    """The SSH server on a free port; the port is announced once it accepts connections."""
    for _ in range(_PORT_TRIES):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        # sshd writes its title over its environment, so that nobody finds it by the marker once the keeper was killed.
        server = subprocess.Popen(_command(root, kind, port), cwd=root, preexec_fn=_end_with_parent)
        deadline = time.monotonic() + _UP_SECONDS
        while server.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                time.sleep(0.01)
                continue
            if server.poll() is None:
                (root / "port.new").write_text(str(port))
                (root / "port.new").rename(root / "port")
                return server
        server.kill()
        server.wait()
        if "Address already in use" not in (root / "keeper.log").read_text(errors="replace"):
            return None  # it was not the port: trying again would say the same
    return None


def _command(root: Path, kind: Server, port: int) -> list[str]:
    if kind is Server.PARAMIKO:
        return [sys.executable, "-m", "provision.hosts.sandbox.server", str(root), str(port)]
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd's unprivileged half is locked in
    where = ["-o", f"ListenAddress=127.0.0.1:{port}", "-f", str(root / "ssh" / "sshd_config")]
    return [str(sshd_path()), "-D", "-e", *where]


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _reap_orphans(server: int) -> None:
    """Take note of adopted processes that ended, but leave the server's end to its own object."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid == server:
            return
        os.waitpid(ended.si_pid, 0)


def _reaped() -> set[int]:
    """Nothing, after taking note of every process that ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        pass
    return set()


if __name__ == "__main__":
    sys.exit(main())
