"""Connecting to a host while the declaration that names it is still being judged.

A login takes five round trips and next to no computing, and judging a declaration is computing alone: done at the same
time they take as long as one of them. Nothing but the login happens on the host before the declaration is sound, and
one program may be started there that waits for its input.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from provision.errors import DeployError, Unreachable
from provision.hosts.connecting import connect
from provision.hosts.connection import HostConnection
from provision.hosts.line import TryAgain
from provision.hosts.spec import HostSpec


class Ahead:
    """A connection to `spec` that is being made, for whoever asks for that very host first.

    Args:
        start: what will be run there first.
    """

    def __init__(self, spec: HostSpec, start: Sequence[str] = ()) -> None:
        self._spec: HostSpec | None = spec
        self._start = start
        self._made: Future[HostConnection] = Future()
        threading.Thread(target=self._make, args=(spec,), daemon=True, name=f"connect ahead to {spec.name}").start()

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
            connection = connect(spec, ask_passphrase=_ask, retries=0)
        except BaseException as error:
            self._made.set_exception(error)
            return
        if self._start:
            with contextlib.suppress(DeployError):  # whoever needs it starts it again, and is told
                connection.start_ahead(self._start)
        self._made.set_result(connection)


class _Ask(Exception):
    """A person has to be asked, which is not done behind the back of what they see."""


def _ask(identity: Path) -> str:
    raise _Ask(str(identity))
