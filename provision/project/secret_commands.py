"""Secrets that a program of this machine gives: `op read …`, `sops -d …`, `pass show …`.

No shell reads the command. What the program prints is the value and is never told, nor are its complaints where they
hold a line of it. It runs in the project's folder, with no input, for as long as its `timeout` says.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

_LARGEST = 1024 * 1024  # bytes of either stream: no key file is nearly as long
_LAST_LINES = 5
_LONGEST_LINE = 300
_LEAST_MASKED = 4  # characters: a shorter line says nothing
_CHUNK = 64 * 1024
_POLL = 0.05


class CommandFailed(Exception):
    """The command gave no value; the message is a sentence that says why."""


def missing_program(command: Sequence[str], root: Path) -> str:
    """The sentence that says so where the command's program is not on this machine, or empty."""
    program = command[0]
    place = str(root / program) if "/" in program else program
    return "" if shutil.which(place) else f'there is no program "{program}" on this machine.'


def ask(command: Sequence[str], root: Path, timeout: float) -> str:
    """What `command` prints, without one line's end.

    Args:
        timeout: seconds.

    Raises:
        CommandFailed: it cannot start, fails, takes too long, or prints nothing that can be a value.
    """
    if said := missing_program(command, root):
        raise CommandFailed(said)
    try:
        process = subprocess.Popen(
            command,
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(f"{command[0]} cannot be started: {error.strerror}.") from None
    try:
        value, complaints = _read(process, command[0], timeout)
    finally:
        _end(process)
    if process.returncode != 0:
        ended = f"status {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        told = _told(complaints, value)
        raise CommandFailed(f"{command[0]} ended with {ended}{': ' + told if told else ''}.")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise CommandFailed(f"what {command[0]} printed is no UTF-8 text.") from None
    text = text.removesuffix("\n")
    if not text:
        raise CommandFailed(f"{command[0]} printed nothing.")
    return text


def _read(process: subprocess.Popen[bytes], program: str, timeout: float) -> tuple[bytes, bytes]:
    """What the program says on both streams until it closes them, or has ended: what it started may keep them open."""
    assert process.stdout and process.stderr  # noqa: S101 (pipes were asked for)
    end = time.monotonic() + timeout
    read = {process.stdout: bytearray(), process.stderr: bytearray()}
    late = f"{program} took longer than {timeout:g} s; if it asks for a password, unlock it first."
    with selectors.DefaultSelector() as waiting:
        for stream in read:
            waiting.register(stream, selectors.EVENT_READ)
        while waiting.get_map():
            has_ended = process.poll() is not None
            ready = waiting.select(0 if has_ended else max(0.0, min(_POLL, end - time.monotonic())))
            if has_ended and not ready:
                break
            if time.monotonic() > end:
                raise CommandFailed(late)
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
        raise CommandFailed(late) from None
    return bytes(read[process.stdout]), bytes(read[process.stderr])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Nothing that it started goes on: the group is its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
    process.wait()


def _told(complaints: bytes, value: bytes) -> str:
    """The last of `complaints`, on one line, without what was printed as a value."""
    text = complaints.decode(errors="replace")
    for line in sorted(value.decode(errors="replace").splitlines(), key=len, reverse=True):
        if len(line.strip()) >= _LEAST_MASKED:
            text = text.replace(line.strip(), "…")
    lines = [line.strip()[:_LONGEST_LINE] for line in text.splitlines() if line.strip()]
    return "; ".join("".join(c if c.isprintable() else " " for c in line) for line in lines[-_LAST_LINES:]).rstrip(".")
