"""A conversation with the agent on one host."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from provision import __version__, errors
from provision.agent import loader, protocol
from provision.hosts import Channel, HostConnection

Event = dict[str, Any]
OnEvent = Callable[[Event], None]

_HEARTBEAT_SECONDS = 15.0  # how often the agent says that it still works on what it was asked
_ANSWER_SECONDS = 120.0  # without any line from the agent: it is hung, or the line is dead
_POLL_SECONDS = 0.2  # how soon Ctrl-C is seen
_NOISE = 1 << 20  # bytes that are no messages: a host's start-up files may print something, and not for ever

_ERRORS: dict[str, type[errors.DeployError]] = {
    protocol.FAILED: errors.DeployError,
    protocol.PUT_BACK: errors.PutBack,
    protocol.DEGRADED: errors.Degraded,
    protocol.REFUSED: errors.Refused,
    protocol.INTERRUPTED: errors.Interrupted,
    protocol.USAGE: errors.UsageError,
}


class Told(dict[str, Any]):
    """What a host told. It may be any program that answers there: what it leaves out is its fault, and not ours."""

    def __missing__(self, key: str) -> Any:
        raise errors.DeployError(
            f'the host\'s answer cannot be read: it has no "{key}".',
            why="What answers there is not the agent, or is another version of it.",
            next_step="look at what python3 is on that host",
        )


class Interrupt:
    """What Ctrl-C asks for: once, put everything back; twice, let go and leave the host to finish alone."""

    def __init__(self) -> None:
        self._requests = 0
        self._lock = threading.Lock()

    def request(self) -> int:
        """Ask once more; how often it was asked now."""
        with self._lock:
            self._requests += 1
            return self._requests

    @property
    def abort(self) -> bool:
        return self._requests >= 1

    @property
    def detach(self) -> bool:
        return self._requests >= 2


class Conversation:
    """One agent process on a host, and what it is asked."""

    def __init__(
        self,
        connection: HostConnection,
        path: str,
        *,
        who: str,
        project: str,
        take_over: str = "",
        python: str = "python3",
        install: bool = False,
        sudo_password: str | None = None,
        on_event: OnEvent,
    ) -> None:
        """Start the agent; bring it along where the host lacks it.

        Args:
            project: whose folder `path` is to be.
            take_over: the project whose place it takes there, where that is meant.
            install: keep the agent on the host; otherwise it leaves nothing behind.
            sudo_password: what sudo asks for; empty where it asks for nothing; None to run without sudo.
        """
        self.host = connection.name
        self._round_trips = connection.round_trips
        self._on_event = on_event
        self._noise = 0
        self._gave_agent = False
        digest = loader.digest()
        command = loader.command(python)
        if sudo_password is not None:
            command = ["sudo", *(["-n"] if not sudo_password else ["-k", "-S", "-p", ""]), *command]
        self._channel: Channel = connection.session(command)
        if sudo_password:
            self._channel.send_line(sudo_password.encode())
        header = {"path": path, "agent": digest, "who": who, "version": __version__, "install": install}
        self._send({**header, "project": project, "take_over": take_over, "heartbeat": _HEARTBEAT_SECONDS})

    def ask(self, op: str, *, interrupt: Interrupt | None = None, **arguments: Any) -> Event:
        """Ask for `op`; pass its events on; the last one.

        Raises:
            DeployError: what the agent reported, as the class that its kind stands for.
            Unreachable: the connection broke.
        """
        self._round_trips.add("request")
        self._send({"op": op, **arguments})
        asked = False
        while True:
            message = self._read(interrupt, aborted=asked)
            if message is None:  # Ctrl-C
                asked = True
                self._send({"op": "abort"})
            elif message["event"] == protocol.NEED_AGENT:
                if self._gave_agent:
                    raise self._unreadable("it asks for the agent again and again")
                self._gave_agent = True
                package = loader.package()
                self._send({"size": len(package), "sha256": hashlib.sha256(package).hexdigest()})
                self._channel.send(package)
            elif message["event"] == protocol.RESULT:
                return message
            elif message["event"] == protocol.ERROR:
                raise failure(message, self.host)
            elif message["event"] != protocol.ALIVE:
                self._tell(message)

    def _tell(self, message: Event) -> None:
        try:
            self._on_event({**message, "host": self.host})
        except (KeyError, TypeError, ValueError, AttributeError) as error:  # whoever shows it takes it at its word
            why = f'its event "{message["event"]}" is not as it should be ({type(error).__name__}: {error})'
            raise self._unreadable(why) from error

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _send(self, message: Mapping[str, Any]) -> None:
        self._channel.send_line(json.dumps(message, ensure_ascii=False).encode())

    def _read(self, interrupt: Interrupt | None, *, aborted: bool) -> Event | None:
        """The next message; None where Ctrl-C came first."""
        patience = time.monotonic() + _ANSWER_SECONDS
        while True:
            if interrupt is not None and interrupt.detach:
                if not aborted:  # both came within one poll
                    self._send({"op": "abort"})
                self._send({"op": "detach"})
                raise errors.Interrupted(
                    "let go: the host goes on alone.", host=self.host, next_step="follow it with: deploy status"
                )
            if interrupt is not None and interrupt.abort and not aborted:
                return None
            try:
                line = self._channel.read_line(_POLL_SECONDS if interrupt else _ANSWER_SECONDS)
            except TimeoutError:
                if time.monotonic() > patience:
                    raise errors.Unreachable(
                        f"no answer in {_ANSWER_SECONDS:.0f} s.", host=self.host, next_step="deploy status"
                    ) from None
                continue
            if line is None:
                raise self._ended()
            message = _message(line)
            if message is not None:
                return message
            self._noise += len(line)  # of a start-up file of the host's shell that prints something
            if self._noise > _NOISE or time.monotonic() > patience:
                raise self._unreadable("it prints and prints, and says nothing of what it was asked")

    def _unreadable(self, why: str) -> errors.DeployError:
        return errors.Unreachable(
            "what answers on the host is not the agent.",
            why=f"{why[0].upper()}{why[1:]}.",
            host=self.host,
            next_step="look at what its login shell and its python3 print",
        )

    def _ended(self) -> errors.DeployError:
        said = self._channel.stderr_tail().decode(errors="replace").strip()
        if self._channel.exit_status() == 127:
            return errors.DeployError(
                "python3 is not on this host.",
                why=said[-300:],
                host=self.host,
                next_step=f"deploy host bootstrap --host {self.host}, or set `python` for the target",
            )
        last = said.splitlines()[-1] if said else "it said nothing"
        return errors.Unreachable("the agent ended early.", why=f"{last}.", host=self.host, next_step="deploy status")


def _message(line: bytes) -> Event | None:
    """What a line says as a message; None where it is none."""
    try:
        value = json.loads(line, object_hook=Told)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, Told) and isinstance(value.get("event"), str) else None


def failure(message: Event, host: str) -> errors.DeployError:
    """The exception that an agent's `error` message stands for."""
    if newer := message.get("newer"):
        return _newer(newer, host)
    known = {"event", "kind", "what", "why", "next", "log"}
    kind = errors.Untrusted if "untrusted" in message else _ERRORS.get(message["kind"], errors.DeployError)
    return kind(
        message["what"],
        why=message.get("why", ""),
        next_step=message.get("next", ""),
        host=host,
        log=[str(line) for line in message.get("log") or ()],
        details={key: value for key, value in message.items() if key not in known},
    )


def _newer(found: Mapping[str, Any], host: str) -> errors.Refused:
    from provision.installed import installed

    by = f"deploy {found['version']}" if found["version"] else "a later version of deploy"
    return errors.Refused(
        f"{by} was here, and this is deploy {__version__}.",
        why=f"{found['where']} has format {found['format']}; this version reads {found['reads']}. Nothing was changed.",
        next_step=installed().update(),
        host=host,
        details={"newer": dict(found)},
    )
