"""Which machines a target means: `hosts = ["root@gpu-[01:16].example.net:2222"]` as values.

An entry is `[user@]host[:port]`, or the same behind `ssh://`, as providers print it; an IPv6 address stands in brackets
(`[::1]:22`). A range `[01:16]` stands for its numbers, both ends included, zero-padded as written; several ranges
multiply. What an entry leaves out is taken from `~/.ssh/config` when the connection is made, then from ssh's own
defaults.
"""

from __future__ import annotations

import ipaddress
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from provision.errors import UsageError

SANDBOX = "sandbox"  # among the hosts of a target: a throwaway machine here, see provision.hosts.sandbox
PROJECT_KNOWN_HOSTS = "known_hosts"  # in the project's folder: pins that the team shares
USER_KNOWN_HOSTS = (Path("~/.ssh/known_hosts"), Path("/etc/ssh/ssh_known_hosts"))
SSH_CONFIG = (Path("~/.ssh/config"), Path("/etc/ssh/ssh_config"))
_MOST_HOSTS = 10_000  # a mistyped range must not fill the memory

_RANGE = re.compile(r"\[(\d+):(\d+)\]")
_ENTRY = re.compile(r"(?:(?P<user>[^@/\s]+)@)?(?:\[(?P<v6>[^\]]*)\]|(?P<host>[^:@/\[\]\s]+))(?::(?P<port>\d+))?")


@dataclass(frozen=True)
class HostSpec:
    """One machine as declared. An empty `user` and a `port` of 0 mean "not said": ssh's configuration decides.

    Attributes:
        identity: the only key to try, or `None` for the agent's and the default ones.
        known_hosts: files of pinned host keys; the first one that names the host decides.
        connect_timeout: seconds for each attempt to connect.
        sudo: commands that need root may ask sudo for it.
        ssh_config: configuration files to honour, first value wins; empty for none.
        use_agent: whether keys in the SSH agent may be tried.
    """

    name: str
    address: str
    user: str
    port: int
    identity: Path | None
    known_hosts: tuple[Path, ...]
    connect_timeout: float = 10
    sudo: bool = False
    ssh_config: tuple[Path, ...] = SSH_CONFIG
    use_agent: bool = True


def parse_hosts(
    entries: Sequence[str],
    *,
    identity: Path | None = None,
    known_hosts: Sequence[Path] = (),
    user_known_hosts: bool = True,
    connect_timeout: float = 10,
    sudo: bool = False,
) -> list[HostSpec]:
    """The machines that `entries` name, in order.

    `known_hosts` (the project's own file) comes before the user's, which `user_known_hosts=False` leaves out.

    Raises:
        UsageError: an entry cannot be read, or two entries name the same machine.
    """
    pinned = (*known_hosts, *(USER_KNOWN_HOSTS if user_known_hosts else ()))
    specs: dict[tuple[str, str, int], HostSpec] = {}
    for entry in entries:
        for text in _expand(entry.removeprefix("ssh://").removesuffix("/") if entry.startswith("ssh://") else entry):
            user, address, port = _split(text, entry)
            key = (user, address, port)
            if key in specs:
                raise UsageError(f"{text} is named twice in hosts", next_step="name each host once")
            name = text.partition("@")[2] or text
            specs[key] = HostSpec(name, address, user, port, identity, pinned, connect_timeout, sudo)
    return list(specs.values())


def declared_hosts(
    entries: Sequence[str], root: Path, *, identity: str | None, known_hosts: str | None, sudo: bool
) -> list[HostSpec]:
    """The machines of a target of the project in `root`, from what its declaration says; raises as `parse_hosts`."""
    return parse_hosts(
        entries,
        identity=root / Path(identity).expanduser() if identity else None,
        known_hosts=(root / (known_hosts or PROJECT_KNOWN_HOSTS),),
        sudo=sudo,
    )


def _expand(entry: str) -> Iterator[str]:
    """`entry` with each range replaced by each of its numbers."""
    parts = _RANGE.split(entry)
    spans: list[range] = []
    widths: list[int] = []
    for first, last in zip(parts[1::3], parts[2::3], strict=True):
        if int(last) < int(first):
            raise UsageError(f"{entry}: the range [{first}:{last}] ends before it begins")
        spans.append(range(int(first), int(last) + 1))
        widths.append(len(first) if first.startswith("0") else 0)
    if math.prod(map(len, spans)) > _MOST_HOSTS:
        raise UsageError(f"{entry} means more than {_MOST_HOSTS} hosts")
    for combination in itertools.product(*spans):
        numbers = [str(number).zfill(width) for number, width in zip(combination, widths, strict=True)]
        yield "".join(itertools.chain.from_iterable(zip(parts[::3], (*numbers, ""), strict=True)))


def _split(text: str, entry: str) -> tuple[str, str, int]:
    match = _ENTRY.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{entry!r} is not a host", why="expected [user@]host[:port], say root@203.0.113.7:22 or gpu-[01:16]"
        )
    port = int(match["port"] or 0)
    if match["port"] and not 0 < port < 65536:
        raise UsageError(f"{entry!r}: {match['port']} is not a port", why="expected 1 to 65535")
    if match["v6"] is not None:
        try:
            ipaddress.IPv6Address(match["v6"].partition("%")[0])
        except ValueError:
            raise UsageError(f"{entry!r}: [{match['v6']}] is neither an IPv6 address nor a range") from None
    address = match["v6"] if match["v6"] is not None else match["host"]
    if address.startswith("-"):
        raise UsageError(f"{entry!r}: a host name cannot start with a dash")
    return match["user"] or "", address, port
