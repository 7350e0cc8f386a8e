"""Values as HAProxy's configuration holds them (configuration manual, 2.2 "Quoting and escaping").

Between single quotes every character is itself, and what no quotes can hold is a line's end. Where HAProxy expands a
value once more, as in headers of answers, `%` is written twice (8.2.6).
"""

from __future__ import annotations

import ipaddress
import re
from typing import NoReturn

from ...contract.failure import REFUSED, Failure

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,127}")
_LINE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_HIGHEST_PORT = 65535
_MOST = 2**31 - 1
_LONGEST = 2_000_000.0  # seconds


def quoted(what: str, value: str) -> str:
    """Any value of one line, as one word."""
    if not _LINE.fullmatch(value):
        _refuse(what, value, "has a character that no line of a configuration can hold")
    return "'" + value.replace("'", "'\\''") + "'"


def expanded(what: str, value: str) -> str:
    """The same, where HAProxy would read `%` as the beginning of a variable."""
    return quoted(what, value.replace("%", "%%"))


def name(what: str, value: str) -> str:
    """What a service, a program, a lane, a project or an account is called."""
    return _judged(_NAME, what, value)


def variable(what: str, value: str) -> str:
    """A name, as part of a variable's. Services and lanes have no underscore, so two names stay two."""
    return name(what, value).replace("-", "_")


def header(value: str) -> str:
    """The name of a header."""
    return _judged(_HEADER, "header", value)


def host(value: str) -> str:
    """A host's name, in small letters; `*.` before it is judged apart."""
    return _judged(_HOST, "host", value).lower()


def port(value: int) -> str:
    """The number of a port."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _HIGHEST_PORT:
        _refuse("port", value, "is none")
    return str(value)


def address(value: str) -> str:
    """An IP address, as stands before a port."""
    try:
        found = ipaddress.ip_address(value)
    except ValueError:
        _refuse("address", value, "is no IP address")
    if "%" in value:
        _refuse("address", value, "names an interface, which HAProxy can't")
    return f"[{found}]" if found.version == 6 else str(found)


def path(value: str) -> str:
    """What a URL's path begins with, without a slash at its end; the whole is empty."""
    if not value.startswith("/"):
        _refuse("path", value, "does not begin with a slash")
    return value.rstrip("/")


def whole(what: str, value: int) -> int:
    """A number that counts something."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        _refuse(what, value, "is no number that HAProxy could hold")
    return value


def milliseconds(seconds: float) -> str:
    """A time, of which HAProxy knows at most 24 days."""
    if not 0 < seconds <= _LONGEST:
        _refuse("time", seconds, "is none that HAProxy could hold")
    return f"{max(1, round(seconds * 1000))}ms"


def _judged(rule: re.Pattern[str], what: str, value: str) -> str:
    if not isinstance(value, str) or not rule.fullmatch(value):
        _refuse(what, value, "can't stand in HAProxy's configuration")
    return value


def _refuse(what: str, value: object, why: str) -> NoReturn:
    raise Failure(REFUSED, f"{what} {value!r} {why}.", next_step="deploy check")
