"""Connecting to a host while the declaration that names it is still being judged.

A login takes five round trips and next to no computing, and judging a declaration is computing alone: done at the same
time they take as long as one of them. Nothing but the login happens on the host before the declaration is sound.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from provision.errors import DeployError, Unreachable
from provision.hosts.connecting import connect
from provision.hosts.connection import HostConnection
from provision.hosts.line import TryAgain
from provision.hosts.spec import SANDBOX, HostSpec, declared_hosts
from provision.project import template


class Ahead:
    """A connection that is being made, for whoever asks for that very host first.

    Args:
        directory: the project's.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._spec: HostSpec | None = None
        self._made: Future[HostConnection] = Future()

    def begin(self, target: Any, variables: Mapping[str, str]) -> None:
        """Begin to connect to the only host of `target`, if it has one for sure.

        Args:
            target: as it is written in deploy.toml, judged by nobody yet.
        """
        self._spec = only_host(target, variables, self._directory.resolve())
        if self._spec:
            name = f"connect ahead to {self._spec.name}"
            threading.Thread(target=self._make, args=(self._spec,), daemon=True, name=name).start()

    def take(self, spec: HostSpec) -> HostConnection | None:
        """The connection, once; None where another host is meant, or where connecting anew may go better.

        Raises:
            Unreachable: the host does not answer, and was waited for long enough.
        """
        if spec != self._spec:
            return None
        self._spec = None
        try:
            return self._made.result()
        except TryAgain:
            return None
        except Unreachable:
            raise
        except (DeployError, _Ask):  # a key may have been pinned meanwhile; if not, the same is said again
            return None

    def _make(self, spec: HostSpec) -> None:
        try:
            self._made.set_result(connect(spec, ask_passphrase=_ask, retries=0))
        except BaseException as error:
            self._made.set_exception(error)


def only_host(target: Any, variables: Mapping[str, str], root: Path) -> HostSpec | None:
    """The host of a target that has one, as the judged declaration will mean it; None where that is not sure yet.

    Whatever is wrong with the declaration is said by who judges it, with its place.
    """
    try:
        if not isinstance(target["hosts"], list):
            return None
        (host,) = target["hosts"]
        entry, identity = (template.parse(text, variables).text for text in (host, target.get("identity", "")))
        if entry == SANDBOX:  # no machine yet: it may have to be started
            return None
        known_hosts, sudo = target.get("known_hosts"), target.get("sudo", False)
        (spec,) = declared_hosts([entry], root, identity=identity, known_hosts=known_hosts, sudo=sudo)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, DeployError):
        return None
    return spec


class _Ask(Exception):
    """A person has to be asked, which is not done behind the back of what they see."""


def _ask(identity: Path) -> str:
    raise _Ask(str(identity))
