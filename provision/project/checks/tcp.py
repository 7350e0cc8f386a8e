"""`tcp`: something listens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from provision.errors import UsageError
from provision.project.checks.kind import HOST, Asked, InImage, Kind, shape
from provision.project.fault import Fault, Path
from provision.project.section import Section
from provision.project.values import LAST_PORT, Text

if TYPE_CHECKING:
    from provision.agent.checks.tcp import TcpCheck


class Tcp(Section):
    tcp: Text | None = None
    """Something must listen there: "${port}", or "host:port"."""


def _faults(path: Path, check: Tcp, _: bool | None) -> Iterator[Fault]:
    if check.tcp and not re.fullmatch(r"(\S+:)?(\0|[0-9]{1,5})", shape(check.tcp)):
        yield Fault((*path, "tcp"), 'expected "${port}", or "host:port".')


def _document(check: Tcp, asked: Asked) -> TcpCheck:
    assert check.tcp is not None  # noqa: S101 (it is of this kind)
    where = asked.text(check.tcp, "tcp")
    host, _, port = where.rpartition(":")
    if not port.isdecimal():
        raise UsageError(f'{asked.subject}.tcp: expected "${{port}}" or "host:port", got "{where}"')
    return {**asked.document("tcp", where), "host": host.strip("[]") or HOST, "port": int(port)}


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= LAST_PORT


KIND = Kind("tcp", _document, _faults)
IN_IMAGE = InImage("a port such as 9481", _is_port, lambda port: {"host": HOST, "port": port})
