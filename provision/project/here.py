"""Programs of this machine that a project declares: commands that give secrets, and hooks.

No shell reads the command. It runs in the project's folder for as long as its `timeout` says, says no more than a
megabyte, and nothing that it started goes on afterwards.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

_LARGEST = 1024 * 1024  # bytes of either stream: no key file is nearly as long
_CHUNK = 64 * 1024
_POLL = 0.05


class CommandFailed(Exception):
    """The command did not do what it is for; the message is a sentence that says why."""


class TookTooLong(CommandFailed):
    """Its time was over before it was."""


def missing_program(command: Sequence[str], root: Path) -> str:
    """The sentence that says so where the command's program is not on this machine, or empty."""
    program = command[0]
    place = str(root / program) if "/" in program else program
    return "" if shutil.which(place) else f'there is no program "{program}" on this machine.'


def ended(status: int) -> str:
    """How a program ended, for a sentence."""
    return f"ended with status {status}" if status >= 0 else f"ended with signal {-status}"


def run(command: Sequence[str], root: Path, timeout: float, given: bytes = b"") -> tuple[int, bytes, bytes]:
    """Run it with `given` on standard input; its status (a signal is negative), and what it said on both streams.

    Args:
        timeout: seconds.

    Raises:
        CommandFailed: it cannot start, takes too long, or says too much.
    """
    if said := missing_program(command, root):
        raise CommandFailed(said)
    with tempfile.TemporaryFile() as file:  # which needs nobody who writes while it runs
        file.write(given)
        file.seek(0)
        try:
            process = subprocess.Popen(
                command,
                cwd=root,
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise CommandFailed(f"{command[0]} cannot be started: {error.strerror}.") from None
    try:
        output, complaints = _read(process, command[0], timeout)
    finally:
        _end(process)
    return process.returncode, output, complaints


def _read(process: subprocess.Popen[bytes], program: str, timeout: float) -> tuple[bytes, bytes]:
    """What the program says on both streams until it closes them, or has ended: what it started may keep them open."""
    assert process.stdout and process.stderr  # noqa: S101 (pipes were asked for)
    end = time.monotonic() + timeout
    read = {process.stdout: bytearray(), process.stderr: bytearray()}
    late = f"{program} took longer than {timeout:g} s."
    with selectors.DefaultSelector() as waiting:
        for stream in read:
            waiting.register(stream, selectors.EVENT_READ)
        while waiting.get_map():
            has_ended = process.poll() is not None
            ready = waiting.select(0 if has_ended else max(0.0, min(_POLL, end - time.monotonic())))
            if has_ended and not ready:
                break
            if time.monotonic() > end:
                raise TookTooLong(late)
            for key, _ in ready:
                stream = process.stdout if key.fileobj is process.stdout else process.stderr
                chunk = os.read(stream.fileno(), _CHUNK)
                if not chunk:
                    waiting.unregister(stream)
                read[stream] += chunk
                if len(read[stream]) > _LARGEST:
                    raise CommandFailed(f"{program} printed more than {_LARGEST >> 20} MiB.")
    try:
        process.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TookTooLong(late) from None
    return bytes(read[process.stdout]), bytes(read[process.stderr])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing that it started goes on: the group is its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
    process.wait()
