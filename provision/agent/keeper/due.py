"""Has certificates asked for that are due. What brings much along for that is imported in a child, which ends."""

from __future__ import annotations

import os
import resource
import signal

from ...contract.layout import Layout

_ALL_SECONDS = 1800
_MEMORY = 1 << 30  # an authority may answer what it likes
_DESCRIPTORS = 1024  # more than the keeper has


class Certificates:
    """Who asks for them, beside all else."""

    def __init__(self, layout: Layout, agent: str) -> None:
        self._layout, self._agent = layout, agent
        self._child = 0

    def look(self) -> None:
        """Have what is due asked for, unless that is under way."""
        if self._child:
            pid, _ = os.waitpid(self._child, os.WNOHANG)
            self._child = 0 if pid else self._child
        if self._child or not os.path.isdir(self._layout.acme):
            return
        self._child = os.fork()
        if self._child == 0:
            try:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                signal.alarm(_ALL_SECONDS)
                os.closerange(3, _DESCRIPTORS)  # who writes to the keeper is to see when it ends
                resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
                from .certificates import ask

                ask(self._layout, self._agent)
            finally:
                os._exit(0)
