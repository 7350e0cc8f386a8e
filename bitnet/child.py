"""One program in a process group of its own: started, read, ended and reaped without a thread.

A pidfd (Linux 5.3) tells the event loop of the exit. The leader stays a zombie until the rest of its group has been
killed, so that its number cannot be given to a stranger in between. Where pidfd_open is forbidden (old container
profiles) one waiting thread a program does the same.

What a program leaves running in its group ends with it. A process that makes itself a group of its own (setsid) is
out of reach here; systemd or a container ends it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path

from bitnet.errors import InvalidInput, LaunchFailed

READ_BYTES = 1 << 16  # what a Linux pipe holds

LINGER_SECONDS = 0.5
"""How long output is awaited after the program itself is gone, when something in its group holds it open."""


class Ending(Enum):
    """Why a program is ended before it exits by itself."""

    DEADLINE = "deadline"
    ASKED = "asked"


class Child:
    """A running program. Make it inside a running event loop.

    Args:
        command: the argument list.
        on_output: called with 1 or 2 (stdout, stderr) and each piece of output.
        env: the whole environment, or None for this process's own.
        cwd: where it runs.
        timeout: seconds until it is ended.
        grace: seconds between SIGTERM and SIGKILL.

    Raises:
        InvalidInput: the command is no list of strings, or holds NUL.
        LaunchFailed: the system cannot start it.
    """

    def __init__(
        self,
        command: Sequence[str],
        on_output: Callable[[int, bytes], None],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        grace: float = 5.0,
    ) -> None:
        self.ending: Ending | None = None
        self.returncode: int | None = None
        self._loop = asyncio.get_running_loop()
        self._on_output = on_output
        self._grace = grace
        self._exited = False
        self._paused = False
        self._waiters: list[asyncio.Future[int]] = []
        self._process = _popen(command, env, cwd)
        self.pid = self._process.pid
        self._timers = [] if timeout is None else [self._loop.call_later(timeout, self.end, Ending.DEADLINE)]
        self._pipes: dict[int, int] = {}
        for stream, pipe in ((1, self._process.stdout), (2, self._process.stderr)):
            assert pipe is not None  # noqa: S101 - both were asked for
            os.set_blocking(pipe.fileno(), False)
            self._pipes[stream] = pipe.fileno()
            self._loop.add_reader(pipe.fileno(), self._read, stream)
        self._watch()

    async def wait(self) -> int:
        """Its exit status, negative for a signal; all output has arrived by then. Cancelling leaves it running."""
        if self.returncode is None:
            waiter: asyncio.Future[int] = self._loop.create_future()
            self._waiters.append(waiter)
            return await waiter
        return self.returncode

    def end(self, why: Ending = Ending.ASKED) -> None:
        """Ask the whole group to stop; it is killed when the grace is over. Asking again changes nothing."""
        if self._exited:
            self._finish()
        elif self.ending is None:
            self.ending = why
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # a stopped process would not see the first one
            self._timers.append(self._loop.call_later(self._grace, self.kill))

    def kill(self) -> None:
        """Kill the whole group now."""
        if self.returncode is None:
            self._signal(signal.SIGKILL)

    async def gone(self) -> None:
        """End it and wait until it is reaped, even when the waiting task is cancelled: then without grace."""
        self.end()
        while self.returncode is None:
            try:
                await self.wait()
            except asyncio.CancelledError:
                # Whoever cancelled waits for us; the caller of `gone` goes on with its own cancellation.
                self.kill()

    def pause(self) -> None:
        """Read no more for now: the program then waits in its next write."""
        if not self._paused:
            self._paused = True
            for pipe in self._pipes.values():
                self._loop.remove_reader(pipe)

    def resume(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            for stream, pipe in self._pipes.items():
                self._loop.add_reader(pipe, self._read, stream)

    def _signal(self, number: signal.Signals) -> None:
        # Gone, or become another user's: nothing that we may end.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _watch(self) -> None:
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:
            self._pidfd = -1
            threading.Thread(target=self._wait_in_thread, name=f"wait-{self.pid}", daemon=True).start()
        else:
            self._loop.add_reader(self._pidfd, self._on_exit)

    def _wait_in_thread(self) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with suppress(RuntimeError):  # the loop was closed meanwhile, and nobody waits any more
            self._loop.call_soon_threadsafe(self._on_exit)

    def _read(self, stream: int) -> None:
        try:
            data = os.read(self._pipes[stream], READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._on_output(stream, data)
        else:
            self._close(stream)
            if self._exited and not self._pipes:
                self._finish()

    def _close(self, stream: int) -> None:
        self._loop.remove_reader(self._pipes.pop(stream))
        pipe = self._process.stdout if stream == 1 else self._process.stderr
        assert pipe is not None  # noqa: S101 - see __init__
        pipe.close()

    def _on_exit(self) -> None:
        self._exited = True
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
        if self._pipes:
            self._timers.append(self._loop.call_later(LINGER_SECONDS, self._finish))
        else:
            self._finish()

    def _finish(self) -> None:
        """The leader is a zombie: kill what it left behind, take what is still in the pipes, reap it."""
        if self.returncode is not None:
            return
        self._signal(signal.SIGKILL)
        for timer in self._timers:
            timer.cancel()
        for stream in list(self._pipes):
            self._drain(stream)
            self._close(stream)
        self.returncode = self._process.wait()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(self.returncode)

    def _drain(self, stream: int) -> None:
        """What the pipe holds at this moment; it may be held open for ever by a process out of reach."""
        try:
            data = os.read(self._pipes[stream], READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._on_output(stream, data)


def _popen(
    command: Sequence[str], env: Mapping[str, str] | None, cwd: str | os.PathLike[str] | None
) -> subprocess.Popen[bytes]:
    if isinstance(command, str) or not command or not all(isinstance(word, str) for word in command):
        raise InvalidInput(
            f"{command!r} is no command",
            why="a command is a list of strings: the program, then its arguments",
            next_step="give a list; shlex.split() makes one of a line",
        )
    try:
        return subprocess.Popen(
            list(command),
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if env is None else dict(env),
            cwd=cwd,
            # No session of its own: Linux schedules each session as one (autogroup), and on a busy machine a new one
            # is kept waiting so long that launches take twice the time.
            process_group=0,
        )
    except ValueError as error:
        raise InvalidInput(f"{command[0]!r} cannot be started: {error}", why="arguments cannot hold NUL") from error
    except OSError as error:
        missing_folder = cwd is not None and not Path(cwd).is_dir()
        raise LaunchFailed(
            f"{command[0]} could not be started",
            why=f"{error.strerror}: {cwd if missing_folder else command[0]}",
            next_step="check that it exists, that it may be executed, and that PATH finds it",
            command=command,
        ) from error
