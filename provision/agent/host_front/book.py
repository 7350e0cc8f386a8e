"""What the projects of this account want of the host's ports, and which of them the host's front has.

One file, replaced whole. Whoever lets a project's HAProxy be anything holds the lock meanwhile, so that a port is never
two programs' by chance. A project that is gone without a word is none any more.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Tuple

from ...contract.failure import FAILED, Failure
from ...contract.layout import Layout
from .. import files
from ..folders import create, host_folder
from ..locks import Lock, refuse

OWN = ""  # of a port: the front has it, and nobody else; else the folder of the project that has it still, too
_LOCK_SECONDS = 120.0


class Claim(NamedTuple):
    """What a project wants of one port."""

    names: Tuple[str, ...]  # as a client says them, `*.` before what is below one; empty: whoever asks for no other
    tls: bool
    timeout: float  # seconds that either side may be silent


class Book(NamedTuple):
    """The whole."""

    projects: Mapping[str, Mapping[int, Claim]] = {}  # by their folders
    ports: Mapping[int, str] = {}  # those of the host's front; `OWN`, or who still has it
    platform: str = ""  # who starts it

    def others(self, root: str, port: int) -> Dict[str, Claim]:
        """Who else wants it, by folder."""
        return {other: claims[port] for other, claims in self.projects.items() if other != root and port in claims}

    def having(self, root: str, claims: Mapping[int, Claim]) -> Book:
        """The same, once a project wants these."""
        return self._replace(projects={**self.without(root).projects, **({root: claims} if claims else {})})

    def without(self, root: str) -> Book:
        """The same without one."""
        return self._replace(projects={other: claims for other, claims in self.projects.items() if other != root})


def place() -> Layout:
    """Where the host's front is: laid out as a project is, so that a supervisor can be asked for it."""
    return Layout(os.path.join(host_folder(), "front"))


def is_in_sight() -> bool:
    """Whether it could be read, if there is one. A container sees its own project alone (`placed`)."""
    return os.path.isdir(host_folder())


@contextmanager
def locked() -> Iterator[None]:
    """Nobody else changes what any project's HAProxy is.

    Raises:
        Failure: somebody does, for too long.
    """
    create(place())
    files.make_folder(place().traffic, 0o700)
    lock = Lock(place().lock)
    if not lock.take({"who": "deploy", "doing": "sharing ports"}, _LOCK_SECONDS):
        raise refuse("another project's front is being changed.", lock.holder() or {})
    try:
        yield
    finally:
        lock.release()


def read() -> Book:
    """What is written down.

    Raises:
        Failure: it is no book of this version's.
    """
    try:
        found = files.read_json(path())
        if found is None:
            return Book()
        projects = {str(root): _claims(claims) for root, claims in found["projects"].items()}
        ports = {int(port): str(who) for port, who in found["ports"].items()}
        there = {root: claims for root, claims in projects.items() if os.path.isdir(Layout(root).traffic)}
        return Book(there, ports, str(found["platform"]))
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"It says which projects share which ports here; what was read of it: {type(error).__name__}: {error}."
        raise Failure(FAILED, f"{path()} can't be read.", why, "deploy host mend, which makes it anew") from error


def _claims(found: Mapping[str, Any]) -> Dict[int, Claim]:
    return {
        int(port): Claim(tuple(map(str, each["names"])), bool(each["tls"]), float(each["timeout"]))
        for port, each in found.items()
    }


def write(book: Book) -> None:
    """From now on it says this."""
    found = {
        "projects": {
            root: {str(port): {**claim._asdict(), "names": list(claim.names)} for port, claim in claims.items()}
            for root, claims in book.projects.items()
        },
        "ports": {str(port): who for port, who in book.ports.items()},
        "platform": book.platform,
    }
    files.write_json(path(), found, 0o600)


def path() -> str:
    """Where it lies."""
    return os.path.join(place().private, "book.json")
