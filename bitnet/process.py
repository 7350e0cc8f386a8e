"""Run a program to its end, or read it line by line; it never outlives its deadline or its reader."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bitnet.capture import CAPTURE_BYTES, BoundedCapture, Lines
from bitnet.child import Child, Ending
from bitnet.errors import RuntimeTimeoutError

LINES_AHEAD = 1000
"""How many lines may wait for a slow reader before the program is made to wait."""

GRACE_SECONDS = 5.0
"""Between SIGTERM and SIGKILL: llama-server frees its model in less."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that ended.

    Attributes:
        stdout, stderr: its output, as far as it was kept; a mark stands where something was cut.
        stdout_cut, stderr_cut: how many bytes were cut.
        started_at, completed_at: seconds since 1970.
        duration: seconds, by a clock that nobody sets.
        ended: it was ended on request, and did not exit by itself.
    """

    command: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    stdout_cut: int
    stderr_cut: int
    started_at: float
    completed_at: float
    duration: float
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output, without its line end."""

    source: Literal["stdout", "stderr"]
    text: str


class _Recorder:
    """Keeps both streams and the times of one program."""

    def __init__(self, command: Sequence[str], capture_bytes: int) -> None:
        self.command = tuple(command)
        self.streams = {1: BoundedCapture(capture_bytes), 2: BoundedCapture(capture_bytes)}
        self.started_at = time.time()
        self.began = time.monotonic()

    def keep(self, stream: int, data: bytes) -> None:
        self.streams[stream].feed(data)

    def outcome(self, child: Child, returncode: int, timeout: float | None) -> Finished:
        stdout, stderr = self.streams[1], self.streams[2]
        if child.ending is Ending.DEADLINE:
            raise RuntimeTimeoutError(
                timeout=timeout or 0.0, command=self.command, stdout=stdout.text(), stderr=stderr.text()
            )
        duration = time.monotonic() - self.began
        return Finished(
            command=self.command,
            returncode=returncode,
            stdout=stdout.text(),
            stderr=stderr.text(),
            stdout_cut=stdout.cut,
            stderr_cut=stderr.cut,
            started_at=self.started_at,
            completed_at=self.started_at + duration,
            duration=duration,
            ended=child.ending is Ending.ASKED,
        )


async def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
    grace: float = GRACE_SECONDS,
    capture_bytes: int = CAPTURE_BYTES,
    on_child: Callable[[Child], None] | None = None,
) -> Finished:
    """Run `command` until it ends. Cancelling ends it, with its whole process group.

    Args:
        command: the argument list; it is never given to a shell.
        env: its whole environment, or None for this process's own.
        cwd: where it runs.
        timeout: seconds until it is ended: SIGTERM, after `grace` seconds SIGKILL, to the whole group.
        grace: see `timeout`.
        capture_bytes: how much of each stream is kept.
        on_child: told of the running program, so that somebody else can end it.

    Raises:
        InvalidInput: the command is no list of strings, or holds NUL.
        LaunchFailed: it could not be started. A status that is not 0 is no error here.
        RuntimeTimeoutError: it was ended at its deadline; the output until then is on the error.
    """
    recorder = _Recorder(command, capture_bytes)
    child = Child(command, recorder.keep, env=env, cwd=cwd, timeout=timeout, grace=grace)
    if on_child:
        on_child(child)
    try:
        returncode = await child.wait()
    except asyncio.CancelledError:
        await child.gone()
        raise
    return recorder.outcome(child, returncode, timeout)


async def stream(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
    grace: float = GRACE_SECONDS,
    capture_bytes: int = CAPTURE_BYTES,
    on_child: Callable[[Child], None] | None = None,
) -> AsyncGenerator[Line | Finished, None]:
    """Run `command` and yield its lines as they arrive, then how it ended.

    A slow reader slows the program down instead of filling memory. Leaving the loop early ends the program; wrap
    the iterator in `contextlib.aclosing` so that this happens at once. Arguments and errors are those of `run`.
    """
    recorder = _Recorder(command, capture_bytes)
    splitters = {1: Lines(), 2: Lines()}
    waiting: deque[Line] = deque()
    wake = asyncio.Event()

    def arrived(stream: int, data: bytes, *, final: bool = False) -> None:
        recorder.keep(stream, data)
        source: Literal["stdout", "stderr"] = "stdout" if stream == 1 else "stderr"
        waiting.extend(Line(source, text) for text in splitters[stream].feed(data, final=final))
        if len(waiting) > LINES_AHEAD:
            child.pause()
        wake.set()

    child = Child(command, arrived, env=env, cwd=cwd, timeout=timeout, grace=grace)
    if on_child:
        on_child(child)
    ended = asyncio.ensure_future(child.wait())
    ended.add_done_callback(lambda _: wake.set())
    try:
        while waiting or not ended.done():
            while waiting:
                yield waiting.popleft()
            child.resume()
            wake.clear()
            if not ended.done():
                await wake.wait()
        for number in splitters:
            arrived(number, b"", final=True)
        while waiting:
            yield waiting.popleft()
        yield recorder.outcome(child, ended.result(), timeout)
    finally:
        await child.gone()
        ended.cancel()
