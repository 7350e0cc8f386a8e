"""Checks from where this program runs: on the host, or on a laptop through tunnels."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import urllib.parse
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from .. import commands, others, venv
from ..masks import Masks
from ..sockets import Bearer, Guarded, NotTaken, Withheld, cut_after
from .check import Answer, Failed, Final

BODY_LIMIT = 1 << 20  # bytes of an answer that are looked at
REFUSED = (400, 401, 403, 413, 422)  # the same request would not be taken later
LINE_LIMIT = 1 << 20  # of an answer that streams
STREAM_LIMIT = 64 << 20
OUTPUT_LIMIT = 2000  # characters of a command's output that are kept

Address = Tuple[str, Optional[int]]


class _GuardedTLS(Guarded, http.client.HTTPSConnection):
    """The same over TLS."""


class Here:
    """What `Reach` asks for.

    Args:
        folder: working directory of commands.
        bearer: its secret goes to its own program alone, and is never told again: where an answer repeats it, that is
            taken out.
        at: where an address is, seen from here.
        log: the end of the program's log.
        members: the program's processes, as they are now.
        watch: raises where what is asked is to stop early.
    """

    def __init__(
        self,
        folder: str = "/",
        bearer: Optional[Bearer] = None,
        at: Callable[[str, Optional[int]], Address] = lambda host, port: (host, port),
        log: Callable[[], Sequence[str]] = tuple,
        members: Callable[[], Set[int]] = set,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._bearer = bearer
        self._at = at
        self._log = log
        self._members = members
        self.watch = watch

    def ask(self, url: str, seconds: float, body: Optional[bytes] = None) -> Answer:
        """A redirection is an answer like another: no secret goes on to it."""
        connection, path, headers, masks = self._opened(url, seconds, body)
        with contextlib.closing(connection), self._failing(masks, seconds):
            response, content = connection.ask("GET" if body is None else "POST", path, BODY_LIMIT, body, headers)
        told = {name.lower(): masks.mask(response.getheader(name) or "") for name in response.headers}
        return Answer(response.status, masks.mask(content.decode("utf-8", "replace")), told)

    def stream(self, url: str, seconds: float, body: bytes) -> Iterator[bytes]:
        connection, path, headers, masks = self._opened(url, seconds, body)
        with contextlib.closing(connection), self._failing(masks, seconds):
            connection.connect()
            with cut_after(connection.sock, seconds):
                secret = {"Authorization": "Bearer " + self._bearer.value} if self._bearer else {}
                connection.request("POST", path, body, {**headers, **secret})
                response = connection.getresponse()
                if response.status != http.client.OK:
                    content = masks.mask(response.read(BODY_LIMIT).decode("utf-8", "replace"))
                    wrong = Final if response.status in REFUSED else Failed
                    raise wrong(f"HTTP {response.status} {Answer(response.status, content, {}).gist}".rstrip())
                left = STREAM_LIMIT
                while left > 0:
                    line = response.readline(LINE_LIMIT)
                    if not line:
                        return
                    left -= len(line)
                    yield line
                raise Failed(f"its answer is longer than {STREAM_LIMIT >> 20} MiB")

    def beside(self) -> Callable[[], List[str]]:
        return others.beside(self._members)

    def _opened(self, url: str, seconds: float, body: Optional[bytes]) -> Tuple[Guarded, str, Dict[str, str], Masks]:
        """A connection, what is asked there, its headers, and what takes the secret out of what comes back."""
        bearer, parts = self._bearer, urllib.parse.urlsplit(url)
        if bearer and not re.fullmatch(r"[\x20-\x7e]+", bearer.value):
            raise Failed("its secret holds what no header can")
        host, port = self._at(parts.hostname or "127.0.0.1", parts.port)
        connection = (_GuardedTLS if parts.scheme == "https" else Guarded)(host, port, seconds, bearer)
        headers = {"User-Agent": "deploy-check", "Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        return connection, path, headers, Masks([("its secret", bearer.value)] if bearer else [])

    @contextlib.contextmanager
    def _failing(self, masks: Masks, seconds: float) -> Iterator[None]:
        """What goes wrong on a connection, as the failure of an attempt."""
        try:
            yield
        except Withheld as why:
            way = 'ask the service\'s own port (http = "/health"), or leave the token out'
            raise Failed(f"{why}; {way}") from None
        except NotTaken as why:
            raise Failed(str(why)) from None
        except ConnectionRefusedError:
            raise Failed("connection refused") from None
        except socket.timeout:
            raise Failed(f"no answer in {seconds:.0f} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise Failed(masks.mask(f"{type(error).__name__}: {error}".rstrip(": "))) from None

    def connect(self, host: str, port: int, seconds: float) -> None:
        try:
            socket.create_connection(self._at(host, port), seconds).close()
        except ConnectionRefusedError:
            raise Failed("connection refused") from None
        except socket.timeout:
            raise Failed(f"no connection in {seconds:.0f} s") from None
        except OSError as error:
            raise Failed(str(error)) from None

    def said(self) -> str:
        return "\n".join(self._log())

    def run(self, argv: Sequence[str], seconds: float, env: Optional[Mapping[str, str]] = None) -> str:
        """What it starts ends with it: a check leaves nothing behind."""
        try:
            ended = commands.run(argv, seconds, cwd=self._folder, env=venv.on_path(self._folder, env))
        except OSError as error:
            raise Failed(f"could not start {argv[0]}: {error.strerror or error}") from None
        if ended.late:
            raise Failed(f"did not end in {seconds:.0f} s")
        output = _end_of(ended.output.decode("utf-8", "replace")).strip()
        if ended.status != 0:
            raise Failed(f"exit status {ended.status}: {output.splitlines()[-1] if output else 'no output'}")
        return output


def _end_of(text: str) -> str:
    """Its last lines, each as a whole: who takes secrets out of them would not know the end of one."""
    if len(text) <= OUTPUT_LIMIT:
        return text
    torn, _, lines = text[-OUTPUT_LIMIT:].partition("\n")
    return lines if lines.strip() else f"… (its last line has more than {len(torn)} characters)"
