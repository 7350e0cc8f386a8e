"""One SSH connection to a host: commands, rsync and tunnels all go through it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from provision.errors import DeployError, Unreachable
from provision.hosts import login_shell
from provision.hosts.channel import Channel, Completed, TerminalSize
from provision.hosts.round_trips import RoundTrips
from provision.hosts.spec import HostSpec
from provision.hosts.tunnel import Tunnel

if TYPE_CHECKING:
    import paramiko

    from provision.hosts.login import Login
    from provision.hosts.rsync_output import RsyncProgress, RsyncStats
    from provision.hosts.tunnel import Tunnel

Value = TypeVar("Value")

_MOST_SESSIONS = 6  # OpenSSH's MaxSessions is 10: room for one ahead of need and for some that are just ending
_OPEN_SECONDS = 30.0
_REFUSED_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
_NO_SESSION = "opens no session; MaxSessions in its sshd_config may allow none"
_INPUT_CHUNK = 1 << 18


class HostConnection:
    """A connected host. Made by `connect`; safe to use from several threads.

    One session is always opened ahead of need, so that a command costs one round trip instead of two. Where the host
    allows fewer at a time than are needed, it is logged in to again.

    Attributes:
        spec: what was asked for.
        login: what it runs over, as the SSH library has it.
        round_trips: what went over the line so far.
    """

    def __init__(self, spec: HostSpec, login: Login, log_in: Callable[[], Login], round_trips: RoundTrips) -> None:
        self.spec = spec
        self.login = login
        self._log_in = log_in
        self._more_logins: list[Login] = []
        self._sessions = 0
        self.round_trips = round_trips
        self._transport: paramiko.Transport = login.transport
        self._free = threading.BoundedSemaphore(_MOST_SESSIONS)
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._ahead: Future[paramiko.Channel] | None = None
        self._open_ahead()

    @property
    def name(self) -> str:
        """As users know the host."""
        return self.spec.name

    @property
    def address(self) -> str:
        """Where it was reached; empty where another host, or a program, leads there."""
        found = self._transport.sock
        if self.login.gateway or not isinstance(found, socket.socket) or found.family == socket.AF_UNIX:
            return ""
        with contextlib.suppress(OSError):
            return str(found.getpeername()[0])
        return ""

    @property
    def is_open(self) -> bool:
        """Whether the connection still stands."""
        return self._transport.is_active()

    def session(self, argv: Sequence[str], *, terminal: TerminalSize | None = None) -> Channel:
        """Run `argv` on the host and talk to it, word for word, whatever the login shell.

        Args:
            terminal: it has a terminal of this size.

        Raises:
            Unreachable: the connection is gone, or the host opens no session in time.
            DeployError: the host refuses any session.
        """
        from provision.hosts.transport import start_command

        self._free.acquire()
        try:
            channel = self._open()
            self.round_trips.add("exec")
            if terminal is not None:
                self._guard(
                    lambda: channel.get_pty(terminal.name, terminal.columns, terminal.rows), "gives no terminal"
                )
            line = login_shell.line(argv, terminal=terminal is not None)
            self._guard(lambda: start_command(channel, line), "starts no command")
        except BaseException:
            self._free.release()
            raise
        with self._lock:
            self._sessions += 1
        return Channel(channel, self.name, self._ended)

    def run(self, argv: Sequence[str], *, input: bytes = b"", timeout: float = 60) -> Completed:  # noqa: A002
        """Run `argv` with `input` until it ends.

        Raises:
            TimeoutError: it did not end within `timeout` seconds; it is hung up on.
            Unreachable: the connection broke.
        """
        with self.session(argv) as channel:
            writer = threading.Thread(target=_feed, args=(channel, input), daemon=True)
            writer.start()  # beside the reading: a command may answer before it has read everything
            try:
                output = channel.read_all(timeout)
            except TimeoutError:
                raise TimeoutError(f"{self.name}: {argv[0]} did not end within {timeout:g} s") from None
            return Completed(channel.exit_status(), output, channel.stderr_tail())

    def rsync(
        self,
        source: Path,
        files: Sequence[str],
        destination: str,
        *,
        link_dest: Sequence[str] = (),
        checksum: bool = False,
        partial: bool = True,
        in_place: bool = False,
        follow_links: bool = False,
        chmod: str | None = None,
        limit: int = 0,
        on_progress: Callable[[RsyncProgress], None] | None = None,
    ) -> RsyncStats:
        """Bring `files` (relative to `source`) into the folder `destination` of the host; see `rsync.send`."""
        from provision.hosts import rsync  # an unchanged project is never shipped

        options = rsync.Options(
            tuple(link_dest),
            checksum=checksum,
            partial=partial,
            in_place=in_place,
            follow_links=follow_links,
            chmod=chmod,
            limit=limit,
        )
        return rsync.send(self, source, files, destination, options, on_progress)

    def forward(self, remote_port: int, local_port: int = 0, *, remote_host: str = "127.0.0.1") -> Tunnel:
        """A local port that leads to `remote_host:remote_port` as the host sees it; 0 takes a free one."""
        return Tunnel(self, (remote_host, remote_port), local_port)

    def open_direct(self, address: tuple[str, int], origin: tuple[str, int]) -> paramiko.Channel:
        """A connection to `address` made from the host.

        Raises:
            DeployError: nothing answers there; or, as `Forbidden`, the host's SSH server is set up not to do it.
            Unreachable: the connection is gone.
        """
        self.round_trips.add("forward")
        return self._guard(
            lambda: self._transport.open_channel("direct-tcpip", address, origin, timeout=_OPEN_SECONDS),
            f"cannot reach {address[0]}:{address[1]} from the host",
        )

    @contextlib.contextmanager
    def answering(self, answer: Callable[[paramiko.Channel], None]) -> Iterator[int]:
        """A port of the host's loopback, connections to which are answered here, each in a thread of its own.

        Raises:
            Forbidden: the host's SSH server is set up not to do it.
            Unreachable: the connection is gone, or the server says nothing.
        """
        where = "127.0.0.1"

        def came(channel: paramiko.Channel, *_: object) -> None:
            threading.Thread(target=answer, args=(channel,), daemon=True, name=f"answering {self.name}").start()

        self.round_trips.add("forward")
        port = self._in_time(lambda: self._transport.request_port_forward(where, 0, came))
        try:
            yield port
        finally:
            with contextlib.suppress(DeployError):
                self._in_time(lambda: self._transport.cancel_port_forward(where, port))

    def _in_time(self, ask: Callable[[], Value]) -> Value:
        """What is asked of the server as such: the library waits without end, and for one answer at a time."""
        answered: Future[Value] = Future()

        def asking() -> None:
            with self._asking:
                try:
                    answered.set_result(ask())
                except Exception as error:
                    answered.set_exception(error)

        threading.Thread(target=asking, daemon=True, name=f"asking {self.name}").start()
        return self._guard(lambda: answered.result(_OPEN_SECONDS), "leads no port of its own here")

    def close(self) -> None:
        """End the connection and everything that runs over it."""
        for login in (*self._more_logins, self.login):
            login.close()

    def __enter__(self) -> HostConnection:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open(self) -> paramiko.Channel:
        with self._lock:
            ahead, self._ahead = self._ahead, None
        if ahead is not None:
            try:
                channel = ahead.result()
            except Exception:
                # A host with a low MaxSessions refuses sessions ahead of need: ask when it is needed, and only then.
                return self._open_now()
            self._open_ahead()
            return channel
        return self._open_now()

    def _open_now(self) -> paramiko.Channel:
        for pause in _REFUSED_PAUSES:
            try:
                return self._open_over(self._transport)
            except Unreachable:
                raise
            except DeployError:
                if self._sessions:
                    return self._open_beside()
                time.sleep(pause)  # the host may still count a session that has just ended
        return self._open_over(self._transport)

    def _open_beside(self) -> paramiko.Channel:
        """A session over another login than the first, whose sessions are all taken."""
        for login in [*self._more_logins]:
            with contextlib.suppress(DeployError):
                return self._open_over(login.transport)
        login = self._log_in()
        self._more_logins.append(login)
        return self._open_over(login.transport)

    def _open_over(self, transport: paramiko.Transport) -> paramiko.Channel:
        self.round_trips.add("open")
        return self._guard(lambda: transport.open_session(timeout=_OPEN_SECONDS), _NO_SESSION)

    def _ended(self) -> None:
        with self._lock:
            self._sessions -= 1
        self._free.release()

    def _open_ahead(self) -> None:
        future: Future[paramiko.Channel] = Future()

        def opening() -> None:
            try:
                future.set_result(self._transport.open_session(timeout=_OPEN_SECONDS))
            except Exception as error:
                future.set_exception(error)

        with self._lock:
            self._ahead = future
        self.round_trips.add("open ahead")
        threading.Thread(target=opening, daemon=True, name=f"session ahead on {self.name}").start()

    def _guard(self, act: Callable[[], Value], failed: str) -> Value:
        """`act`, with the library's ways to fail turned into ours."""
        import paramiko

        from provision.hosts.line import PROHIBITED, Forbidden, said

        try:
            return act()
        except paramiko.ChannelException as error:
            kind = Forbidden if error.code == PROHIBITED else DeployError
            raise kind(failed, why=said(error), host=self.name) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            why = str(error) if self.is_open else "The connection is gone."
            raise Unreachable(failed, why=why, host=self.name) from error


def _feed(channel: Channel, data: bytes) -> None:
    try:
        for start in range(0, len(data), _INPUT_CHUNK):
            channel.send(data[start : start + _INPUT_CHUNK])
        channel.end_input()
    except (DeployError, OSError):
        return  # the command did not want all of it; its exit status tells more
