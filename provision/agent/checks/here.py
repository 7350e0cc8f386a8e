"""Checks from where this program runs: on the host, or on a laptop through tunnels."""

from __future__ import annotations

import http.client
import re
import socket
import urllib.parse
from typing import Callable, Mapping, Optional, Sequence, Tuple

from .. import commands, venv
from ..masks import Masks
from ..sockets import Bearer, Guarded, NotTaken, Withheld
from .check import Answer, Failed

BODY_LIMIT = 1 << 20  # bytes of an answer that are looked at
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
    """

    def __init__(
        self,
        folder: str = "/",
        bearer: Optional[Bearer] = None,
        at: Callable[[str, Optional[int]], Address] = lambda host, port: (host, port),
        log: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._folder = folder
        self._bearer = bearer
        self._at = at
        self._log = log

    def ask(self, url: str, seconds: float, body: Optional[bytes] = None) -> Answer:
        """A redirection is an answer like another: no secret goes on to it."""
        bearer, parts = self._bearer, urllib.parse.urlsplit(url)
        if bearer and not re.fullmatch(r"[\x20-\x7e]+", bearer.value):
            raise Failed("its secret holds what no header can")
        masks = Masks([("its secret", bearer.value)] if bearer else [])
        host, port = self._at(parts.hostname or "127.0.0.1", parts.port)
        connection = (_GuardedTLS if parts.scheme == "https" else Guarded)(host, port, seconds, bearer)
        path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        headers = {"User-Agent": "deploy-check", "Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            response, content = connection.ask("GET" if body is None else "POST", path, BODY_LIMIT, body, headers)
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
        finally:
            connection.close()
        told = {name.lower(): masks.mask(response.getheader(name) or "") for name in response.headers}
        return Answer(response.status, masks.mask(content.decode("utf-8", "replace")), told)

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
            raise Failed(f"could not start: {error.strerror or error}") from None
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
