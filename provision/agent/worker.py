"""The detached process that performs a transaction, whatever becomes of the connection that asked for it."""

from __future__ import annotations

import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import threading
import traceback
from typing import TYPE_CHECKING, Callable, Mapping, Optional, Protocol

from ..contract import failure
from ..contract.failure import DEGRADED, FAILED, Failure
from ..contract.layout import Layout
from .masks import Masks

if TYPE_CHECKING:
    from ..contract.events import Emit

    Work = Callable[[Emit, Callable[[], bool]], Mapping[str, object]]  # what it tells, whether it was asked to stop


class Worker:
    """A running worker, as its starter sees it."""

    def __init__(self, pid: int, stream: int) -> None:
        self.pid = pid
        self.stream = stream  # its events, a line each

    def abort(self) -> None:
        """Ask it to put everything back."""
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass


def new_transaction() -> str:
    return secrets.token_hex(6)


def start(layout: Layout, transaction: str, work: Work, masks: Masks) -> Worker:
    """Run `work` in a process of its own session (and scope, under systemd); its events come over a pipe.

    They are also kept in `.deploy/transactions/ID.jsonl`, for whoever follows later.

    Args:
        masks: what no event may show: services write their secrets into logs whose last lines are told.
    """
    read_end, write_end = os.pipe()
    pid_read, pid_write = os.pipe()
    middle = os.fork()
    if middle == 0:
        status = 1
        try:
            os.close(read_end)
            os.close(pid_read)
            os.setsid()
            # Who reads the worker's pid may ask it to stop at once, before it can note that.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            if os.fork() == 0:
                os.write(pid_write, str(os.getpid()).encode())
                os.close(pid_write)
                _live(layout, transaction, work, masks, write_end)
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    os.close(pid_write)
    os.waitpid(middle, 0)
    pid = int(os.read(pid_read, 32) or b"0")
    os.close(pid_read)
    return Worker(pid, read_end)


def _live(layout: Layout, transaction: str, work: Work, masks: Masks, stream: int) -> None:
    asked = []  # a signal handler may not do more than note it

    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    for ignored in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    _leave_session_scope(transaction)
    os.set_blocking(stream, False)
    emit = _Events(os.path.join(layout.transactions, transaction + ".jsonl"), stream, masks)
    try:
        emit(work(emit, lambda: bool(asked)))
    except Failure as error:
        emit(error.message())
    except OSError as error:
        failed = failure.of_system("the transaction", error)
        if os.path.exists(layout.journal):
            failed = Failure(DEGRADED, failed.what, next_step="mend that, then: deploy unlock, or deploy up")
        emit(failed.message())
    except BaseException as error:  # the last line must come, or the other side waits for ever
        lines = traceback.format_exc().splitlines()[-8:]
        kind = DEGRADED if os.path.exists(layout.journal) else FAILED
        emit(Failure(kind, f"the agent failed: {type(error).__name__}: {error}", log=lines).message())
    os._exit(0)


class _Events:
    """Writes each event to a file and to a pipe, whichever thread has one; neither a full disk nor a reader that is
    gone stops the work.
    """

    def __init__(self, path: str, stream: int, masks: Masks) -> None:
        self._stream: Optional[int] = stream
        self._masks = masks
        self._one = threading.Lock()
        try:
            self._file: Optional[int] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            self._file = None

    def __call__(self, message: Mapping[str, object]) -> None:
        line = (json.dumps(self._masks.message(message), ensure_ascii=False) + "\n").encode("utf-8", "replace")
        with self._one:
            self._write(line)

    def _write(self, line: bytes) -> None:
        if self._file is not None:
            try:
                os.write(self._file, line)
            except OSError:
                self._file = None
        view = memoryview(line)
        while self._stream is not None and view:
            try:
                view = view[os.write(self._stream, view) :]
            except BlockingIOError:
                # The reader is slow. The last line matters most, so wait for a while.
                if not select.select([], [self._stream], [], 5.0)[1]:
                    self._stream = None
            except OSError:
                self._stream = None


def _leave_session_scope(transaction: str) -> None:
    """Under systemd, leave the SSH session's scope, which may end with the session (logind.conf, KillUserProcesses)."""
    leave_session_scope(os.getpid(), "deploy-" + transaction)


def leave_session_scope(pid: int, name: str) -> None:
    """Move a process to a scope of its own where systemd is in charge; elsewhere nothing is needed."""
    busctl = shutil.which("busctl")
    if busctl is None or not os.path.isdir("/run/systemd/system"):
        return
    manager = ["--user"] if os.geteuid() != 0 else []
    subprocess.run(
        [
            busctl,
            *manager,
            "call",
            "org.freedesktop.systemd1",
            "/org/freedesktop/systemd1",
            "org.freedesktop.systemd1.Manager",
            "StartTransientUnit",
            "ssa(sv)a(sa(sv))",
            name + ".scope",
            "fail",
            "1",
            "PIDs",
            "au",
            "1",
            str(pid),
            "0",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=10,
        check=False,
    )


class Gone(Exception):
    """Nobody listens any more; the worker goes on alone."""


class Commands(Protocol):
    """Lines from the other side, as `forward` waits for them."""

    def fileno(self) -> int: ...

    def fill(self) -> bool: ...

    def take(self) -> Optional[bytes]: ...


def forward(
    worker: Worker,
    emit: Callable[[Mapping[str, object]], None],
    commands: Commands,
    on_command: Callable[[bytes], bool],
) -> Mapping[str, object]:
    """Pass the worker's events on until the last one, and each line of `commands` to `on_command`.

    Raises:
        Gone: `commands` ended, or `on_command` said False.
        EOFError: the worker died without a last word.
    """
    buffer = b""
    while True:
        command = commands.take()  # one may have come in one piece with what is being done: nothing wakes us for it
        while command is not None:
            if not on_command(command):
                raise Gone
            command = commands.take()
        ready, _, _ = select.select([worker.stream, commands.fileno()], [], [])
        if worker.stream in ready:
            block = os.read(worker.stream, 65536)
            if not block:
                raise EOFError("the worker ended without a result")
            buffer += block
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                message: Mapping[str, object] = json.loads(line)
                if message["event"] in ("result", "error"):
                    os.close(worker.stream)
                    return message
                emit(message)
        if commands.fileno() in ready and not commands.fill():
            raise Gone
