"""Pinning a host's key: the one moment at which a person decides whom to believe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from provision import whole
from provision.errors import HostKeyChanged, UsageError
from provision.hosts import known_hosts
from provision.hosts.connecting import open_route
from provision.hosts.known_hosts import HostKey
from provision.hosts.line import open_line
from provision.hosts.round_trips import RoundTrips
from provision.hosts.route import resolve
from provision.hosts.spec import HostSpec


def fetch_key(spec: HostSpec, *, ask_passphrase: Callable[[Path], str] | None = None) -> HostKey:
    """The key that `spec` shows now, unchecked; the keys of jump hosts on the way are checked as always.

    Raises:
        HostKeyUnknown, HostKeyChanged: a jump host's key is not the pinned one.
        Unreachable: no SSH server answers.
    """
    *jumps, last = resolve(spec)
    gateway = open_route(tuple(jumps), ask_passphrase, RoundTrips()) if jumps else None
    try:
        line = open_line(last, gateway)
        from provision.hosts.handshake import show_key  # heavy, and imported while the line is being made

        return show_key(last, line)
    finally:
        if gateway is not None:
            gateway.close()


def trust(
    spec: HostSpec,
    known_hosts_path: Path,
    replace: bool = False,  # as on the command line
    *,
    key: HostKey | None = None,
    fingerprint: str = "",
) -> HostKey:
    """Pin the key of `spec` in `known_hosts_path` and return it. Pinning a pinned key changes nothing.

    Args:
        replace: forget the other keys of this host in that file.
        key: the key that a person has just confirmed; fetched where not given.
        fingerprint: what the key must be, as `SHA256:...`, where it is known from elsewhere.

    Raises:
        HostKeyChanged: the host is pinned to another key and `replace` is not set, or `fingerprint` differs.
        Unreachable: no SSH server answers.
    """
    key = key or fetch_key(spec)
    if fingerprint and fingerprint != key.fingerprint:
        raise HostKeyChanged(
            f"the host shows another key. Expected {fingerprint}, got {key.fingerprint} ({key.type}).",
            why="Nothing was pinned.",
            next_step="compare the fingerprint with what the machine's console says",
            host=spec.name,
        )
    name = resolve(spec)[-1].key_name
    with _rewriting(known_hosts_path) as lines:
        entries = [entry for line in lines if (entry := known_hosts.parse_line(line, known_hosts_path))]
        pinned = known_hosts.pinned([entries], name)
        if not replace and pinned:
            if key.blob in (entry.key.blob for entry in pinned):
                return key
            expected = ", ".join(entry.key.fingerprint for entry in pinned)
            raise HostKeyChanged(
                f"already pinned to another key. Expected {expected}, got {key.fingerprint} ({key.type}).",
                why=f"Pinned in {known_hosts_path}.",
                next_step=f"if the machine was rebuilt: deploy host trust {spec.name} --replace",
                host=spec.name,
            )
        kept = [rest for line in lines if (rest := _without(line, name)) is not None]
        lines[:] = [*kept, f"{name} {key.line}"]
    return key


def _without(line: str, name: str) -> str | None:
    """`line` with its pin of `name` taken out; other names on it stay. `None` when nothing stays."""
    entry = known_hosts.parse_line(line)
    if entry is None or entry.marker or not known_hosts.names_host(entry.names, name):
        return line
    kept = [pattern for pattern in entry.names.split(",") if not known_hosts.names_host(pattern, name)]
    if not any(not pattern.startswith("!") for pattern in kept):
        return None
    return ",".join(kept) + line[line.index(entry.names) + len(entry.names) :]


@contextmanager
def _rewriting(path: Path) -> Iterator[list[str]]:
    """The lines of `path`, written back whole if they were changed; one writer at a time."""
    path = path.expanduser()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with whole.alone(path.parent):
            text = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
            lines = text.splitlines()
            yield lines
            new = "".join(f"{line}\n" for line in lines)
            if new != text:
                mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
                whole.write(path, new.encode(errors="surrogateescape"), mode)
    except OSError as error:
        raise UsageError(f"cannot write the pinned host keys to {path}", why=str(error.strerror)) from error
