"""A conversation with the agent on one host."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from provision import __version__, errors
from provision.agent import loader
from provision.contract import failure as kinds
from provision.hosts import Channel, HostConnection
from provision.targets import answers

if TYPE_CHECKING:
    from provision.contract.answers import Done
    from provision.contract.events import ErrorMessage, Newer
    from provision.contract.requests import Header, Request

Event = dict[str, Any]  # as it is shown: what a host tells, and what we do
OnEvent = Callable[[Event], None]

A = TypeVar("A", bound="Done")

_HEARTBEAT_SECONDS = 15.0  # how often the agent says that it still works on what it was asked
_ANSWER_SECONDS = 120.0  # without any line from the agent: it is hung, or the line is dead
_LOOK_SECONDS = 900.0  # all in all, for what only looks; a transaction takes what its services take, and Ctrl-C ends it
_POLL_SECONDS = 0.2  # how soon Ctrl-C is seen
_NOISE = 1 << 20  # bytes that are no messages: a start-up file of the host's shell prints something, and not for ever
_SHOWN = 80  # characters of what does not fit

_ERRORS: dict[str, type[errors.DeployError]] = {
    kinds.FAILED: errors.DeployError,
    kinds.PUT_BACK: errors.PutBack,
    kinds.DEGRADED: errors.Degraded,
    kinds.REFUSED: errors.Refused,
    kinds.INTERRUPTED: errors.Interrupted,
    kinds.USAGE: errors.UsageError,
}


class _Said(dict[str, Any]):
    """What a host said. What may be left out of an answer, and was asked for, is missed where it is read."""

    def __init__(self, pairs: Mapping[str, Any] | Iterable[tuple[str, Any]], host: str = "") -> None:
        super().__init__(pairs)  # dataclasses.asdict makes a copy of what is in a record from its items alone
        self._host = host

    def __missing__(self, key: str) -> Any:
        raise errors.DeployError(
            f'the host\'s answer has no "{key}", which was asked for.',
            host=self._host,
            next_step="see what `python` is there",
        )


class Interrupt:
    """What Ctrl-C asks for: once, put everything back; twice, let go and leave the host to finish alone."""

    def __init__(self) -> None:
        self._requests = 0
        self._held: list[str] = []
        self._lock = threading.Lock()

    def request(self) -> int:
        """Ask once more; how often it was asked now."""
        with self._lock:
            self._requests += 1
            return self._requests

    @contextlib.contextmanager
    def held(self, host: str) -> Iterator[None]:
        """While `host` is being changed, so that there may be something to put back.

        Raises:
            Interrupted: it was asked before.
        """
        with self._lock:
            if self.abort:
                raise errors.Interrupted("interrupted; nothing was disturbed.", host=host)
            self._held.append(host)
        try:
            yield
        finally:
            self._held.remove(host)

    def holds(self, host: str) -> bool:
        """Whether `host` is being changed."""
        return host in self._held

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
        self._python = python
        self._round_trips = connection.round_trips
        self._on_event = on_event
        self._gave_agent = False
        digest = loader.digest()
        command = loader.command(python)
        if sudo_password is not None:
            command = ["sudo", *(["-n"] if not sudo_password else ["-k", "-S", "-p", ""]), *command]
        self._channel: Channel = connection.session(command)
        if sudo_password:
            self._channel.send_line(sudo_password.encode())
        header: Header = {
            "path": path,
            "agent": digest,
            "who": who,
            "version": __version__,
            "install": install,
            "project": project,
            "take_over": take_over,
            "heartbeat": _HEARTBEAT_SECONDS,
        }
        self._send(header)

    def ask(self, request: Request, expected: type[A], *, interrupt: Interrupt | None = None) -> A:
        """Ask; pass what is told meanwhile on; the answer.

        Raises:
            DeployError: what the agent reported, as the class that its kind stands for; or it answered something else.
            Unreachable: the connection broke.
        """
        self._round_trips.add("request")
        self._send(request)
        asked, noise, patience = False, 0, time.monotonic() + _ANSWER_SECONDS
        looks = request["op"] in ("facts", "logs", "evidence", "keep-evidence") and not request.get("claim")
        until = time.monotonic() + (_LOOK_SECONDS if looks else math.inf)
        while True:
            line = self._read(interrupt, aborted=asked)
            if line is None:  # Ctrl-C
                asked = True
                self._send({"op": "abort"})
                continue
            try:
                said = json.loads(line, object_hook=lambda pairs: _Said(pairs, host=self.host))
            except (ValueError, RecursionError):  # a start-up file of the host's shell that prints something
                noise += len(line)
                if noise > _NOISE or time.monotonic() > patience:
                    raise self._something_else("it prints and prints, and none of it is an answer", line) from None
                continue
            patience = time.monotonic() + _ANSWER_SECONDS
            if time.monotonic() > until:
                raise self._something_else(f"for {_LOOK_SECONDS:.0f} s it says that it is still looking", line)
            try:
                if isinstance(said, dict) and said.get("event") == "result":
                    return answers.answer(said, expected)
                told: answers.Told = answers.answer(said, answers.Told)  # type: ignore[arg-type]
            except answers.Misfit:
                raise self._something_else(f"To {request['op']!r} it said", line) from None
            if told["event"] == "need-agent":
                if self._gave_agent:
                    raise self._something_else("it asks for the agent again and again", line)
                self._gave_agent = True
                package = loader.package()
                self._send({"size": len(package), "sha256": hashlib.sha256(package).hexdigest()})
                self._channel.send(package)
            elif told["event"] == "error":
                raise failure(told, self.host)
            elif told["event"] != "alive":
                self._on_event({**told, "host": self.host})

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _send(self, message: Mapping[str, object]) -> None:
        self._channel.send_line(json.dumps(message, ensure_ascii=False).encode())

    def _read(self, interrupt: Interrupt | None, *, aborted: bool) -> bytes | None:
        """The next line; None where Ctrl-C came first."""
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
            return line

    def _something_else(self, how: str, line: bytes) -> errors.DeployError:
        return errors.DeployError(
            "the host answered something else.",
            why=f"{how[0].upper()}{how[1:]}: {line[: 4 * _SHOWN].decode(errors='replace').strip()[:_SHOWN]}",
            host=self.host,
            next_step="keep its shell's start-up files quiet (~/.bashrc), and see what `python` is there",
        )

    def _ended(self) -> errors.DeployError:
        said = self._channel.stderr_tail().decode(errors="replace").strip()
        if self._channel.exit_status() == 127:
            return errors.DeployError(
                f"{self._python} is not on this host.",
                why=said[-300:],
                host=self.host,
                next_step=f"deploy host bootstrap {self.host}, or set `python` for the target",
            )
        last = said.splitlines()[-1] if said else f"{self._python} said nothing: is it Python 3.8 or newer?"
        step = "deploy status" if said else "correct `python` of the target in deploy.toml"
        return errors.Unreachable("the agent ended early.", why=f"{last.rstrip('.')}.", host=self.host, next_step=step)


def failure(message: ErrorMessage, host: str) -> errors.DeployError:
    """The exception that an agent's `error` message stands for."""
    if newer := message.get("newer"):
        return _newer(newer, host)
    known = {"event", "kind", "what", "why", "next", "log"}
    kind = errors.Untrusted if "untrusted" in message else _ERRORS.get(message["kind"], errors.DeployError)
    return kind(
        message["what"],
        why=message["why"],
        next_step=message["next"],
        host=host,
        log=message.get("log") or (),
        details={key: value for key, value in message.items() if key not in known},
    )


def _newer(found: Newer, host: str) -> errors.Refused:
    from provision.installed import installed

    by = f"deploy {found['version']}" if found["version"] else "a later version of deploy"
    return errors.Refused(
        f"{by} was here, and this is deploy {__version__}.",
        why=f"{found['where']} has format {found['format']}; this version reads {found['reads']}. Nothing was changed.",
        next_step=installed().update(),
        host=host,
        details={"newer": dict(found)},
    )
