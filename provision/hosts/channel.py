"""One command on a host, talked to in lines. What its login shell says before it begins is skipped."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provision.errors import Unreachable
from provision.hosts import login_shell

if TYPE_CHECKING:
    import paramiko

_CHUNK = 65536
_TAIL_BYTES = 65536
_LARGEST = 64 << 20  # bytes of one line, or of all that a command says: a tree of 100,000 files is told in 20 MiB
_WAIT_FOR_STATUS_SECONDS = 5.0
_READ_SECONDS = 0.5  # until whoever reads meanwhile has looked at what it took
_TAKEN_SECONDS = 120.0  # who takes nothing for so long hangs
_AWAKE_SECONDS = 1.0  # the library has one time-out for who reads and who sends: each counts by itself


@dataclass(frozen=True)
class Completed:
    """A command that ended: its exit status (-1 where the host told none) and what it wrote."""

    rc: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class TerminalSize:
    """A terminal that a command is given: what kind it is (terminfo), and its size in characters."""

    name: str
    columns: int
    rows: int


class Channel:
    """A running command. One thread may read while another sends."""

    def __init__(self, channel: paramiko.Channel, host: str, on_close: Callable[[], None]) -> None:
        self._channel = channel
        self._host = host
        self._on_close = on_close
        self._buffer = bytearray()
        self._channel.settimeout(_AWAKE_SECONDS)
        self._tail = bytearray()
        self._openings = login_shell.Opening(), login_shell.Opening()  # of output and error stream
        self._looking = threading.Lock()  # at what comes before the command has begun
        self._patience = time.monotonic() + login_shell.PATIENCE_SECONDS
        # A command that fills its error stream stops until somebody reads it.
        self._stderr = threading.Thread(target=self._read_stderr, daemon=True, name=f"stderr of {host}")
        self._stderr.start()

    def send_line(self, line: bytes) -> None:
        """Send `line` and a newline.

        Raises:
            Unreachable: the command or the connection has ended.
        """
        self.send(line + b"\n")

    def send(self, data: bytes) -> None:
        """Send `data` as it is; raises as `send_line` does."""
        until = time.monotonic() + _TAKEN_SECONDS
        while data:
            try:
                sent = self._channel.send(data)
            except TimeoutError:  # the time-out that a reader set
                if time.monotonic() > until:
                    why = f"It took nothing for {_TAKEN_SECONDS:.0f} s."
                    raise Unreachable("the command does not read what it is sent.", why=why, host=self._host) from None
                time.sleep(0.01)
                continue
            except (OSError, EOFError) as error:  # the library lets both out
                raise self._gone("while sending to it") from error
            if not sent:
                raise self._gone("while sending to it")
            data, until = data[sent:], time.monotonic() + _TAKEN_SECONDS

    def resize(self, size: TerminalSize) -> None:
        """Tell its terminal that the one here has another size."""
        with contextlib.suppress(OSError, EOFError):  # it has ended meanwhile
            self._channel.resize_pty(size.columns, size.rows)

    def end_input(self) -> None:
        """Let the command read the end of its input."""
        try:
            self._channel.shutdown_write()
        except (OSError, EOFError) as error:
            raise self._gone("while ending its input") from error

    def read_line(self, timeout: float | None = None) -> bytes | None:
        """The next line without its newline, or `None` when the command's output has ended.

        Output that ends without a newline is a last line. `timeout` is in seconds.

        Raises:
            TimeoutError: nothing came in time; what came so far stays for the next call.
            Unreachable: the connection broke, or what comes has no end.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            data = self._receive(deadline)
            if not data:
                line, self._buffer = bytes(self._buffer), bytearray()
                return line or None
            self._keep(data)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def read_all(self, timeout: float | None = None) -> bytes:
        """Everything up to the end of the output; raises as `read_line` does."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while data := self._receive(deadline):
            self._keep(data)
        output, self._buffer = bytes(self._buffer), bytearray()
        return output

    def pour_into(self, descriptor: int) -> None:
        """Write the output to a file descriptor until it ends; raises as `read_line` does, and OSError."""
        while data := self._receive(None):
            while data:
                data = data[os.write(descriptor, data) :]

    def stderr_tail(self) -> bytes:
        """The last of what the command wrote to its error stream."""
        if self._channel.closed or self._channel.eof_received:
            self._stderr.join(1)  # so that the last words are in it
        return bytes(self._tail)

    def exit_status(self, timeout: float = _WAIT_FOR_STATUS_SECONDS) -> int:
        """The command's exit status; -1 where the host told none in `timeout` seconds."""
        self._channel.status_event.wait(timeout)
        return self._channel.exit_status

    def close(self) -> None:
        """Hang up; a command that still runs sees the end of its input and output."""
        on_close, self._on_close = self._on_close, _nothing
        with contextlib.suppress(EOFError, OSError):  # it is gone already
            self._channel.close()
        on_close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _receive(self, deadline: float | None) -> bytes:
        opening = self._openings[0]
        while not opening.is_over:
            with self._looking:
                if opening.is_over:  # who sends has looked meanwhile
                    break
                if after := self._look(opening, deadline):
                    return after
        return self._take(deadline)

    def _look(self, opening: login_shell.Opening, deadline: float | None) -> bytes:
        """Take the next of what comes before the command has begun; what comes after."""
        soonest = self._patience if deadline is None else min(deadline, self._patience)
        try:
            data = self._take(soonest)
        except TimeoutError:
            if soonest is not self._patience:
                raise
            raise login_shell.lost(self._host, self._openings, ended=False) from None
        if not data:
            raise self._never_began()
        after = opening.skip(data)
        if not opening.is_over and (opening.is_endless or time.monotonic() > self._patience):
            raise login_shell.lost(self._host, self._openings, ended=False)
        return after

    def _take(self, deadline: float | None) -> bytes:
        while True:
            left = _AWAKE_SECONDS if deadline is None else max(0.0, deadline - time.monotonic())
            self._channel.settimeout(min(left, _AWAKE_SECONDS))
            try:
                data = self._channel.recv(_CHUNK)
                break
            except TimeoutError:  # the library's socket.timeout
                if deadline is not None and time.monotonic() >= deadline:
                    raise
            except EOFError as error:  # reading makes room and says so, and nobody is there to hear it
                raise self._gone("while reading from it") from error
            finally:
                self._channel.settimeout(_AWAKE_SECONDS)
        if not data and not self._channel.get_transport().is_active():
            raise self._gone("while reading from it")
        return data

    def _keep(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > _LARGEST:
            self.close()
            raise Unreachable(f"the command said more than {_LARGEST >> 20} MiB without an end.", host=self._host)

    def _never_began(self) -> Unreachable:
        status = self.exit_status()
        self._stderr.join(1)
        return login_shell.lost(self._host, self._openings, ended=True, status=status)

    def _read_stderr(self) -> None:
        with contextlib.suppress(EOFError, OSError):  # the connection broke: whoever reads the output says so
            while True:
                try:
                    data = self._channel.recv_stderr(_CHUNK)
                except TimeoutError:
                    continue
                if not data:
                    return
                self._tail += self._openings[1].skip(data)
                del self._tail[:-_TAIL_BYTES]

    def _gone(self, when: str) -> Unreachable:
        if not self._channel.get_transport().is_active():
            return Unreachable(f"the connection broke {when}.", next_step="deploy status", host=self._host)
        opening = self._openings[0]
        until = time.monotonic() + _READ_SECONDS
        while not opening.is_over and time.monotonic() < until:  # nobody has read yet why, or somebody is about to
            if self._looking.acquire(blocking=False):
                try:
                    if not opening.is_over and self._channel.recv_ready():
                        self._buffer += opening.skip(self._channel.recv(_CHUNK))
                finally:
                    self._looking.release()
            time.sleep(0.01)
        if not opening.is_over:
            return self._never_began()
        said = self.stderr_tail().decode(errors="replace").strip().splitlines()
        return Unreachable(f"the command ended {when}", why=f"It said: {said[-1]}" if said else "", host=self._host)


def _nothing() -> None:
    """Replaces the closing step once it is done."""
