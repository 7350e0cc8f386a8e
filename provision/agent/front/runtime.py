"""HAProxy while it runs: asked and told over its master's socket. Every answer is bounded, every wait ends."""

from __future__ import annotations

from typing import Dict, List

from .values import Counted, Front


class Runtime:
    """The HAProxy of the front in `folder`, whoever started it.

    All of it raises Failure where HAProxy does not answer, or not with what was asked for.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def become(self, front: Front, seconds: float = 30.0) -> None:
        """Make it `front`: write the configuration, durably; then say the difference on the socket, or reload.

        May be repeated, also by somebody else after a kill at any point. Streams that have begun go on either way. In
        the end the running HAProxy is `front`, or Failure says why not (it judges the file before it is in place).
        Where no HAProxy runs, the file is all: whoever starts it starts `front`.
        """
        raise NotImplementedError

    def is_up(self) -> bool:
        """Whether it answers."""
        raise NotImplementedError

    def counted(self) -> Dict[str, Dict[str, Counted]]:
        """service -> program -> what it had and has."""
        raise NotImplementedError

    def held(self, service: str) -> int:
        """How many requests wait for a program that takes them."""
        raise NotImplementedError

    def drained(self, service: str, program: str) -> bool:
        """Whether the program has no session left, in any process."""
        raise NotImplementedError


def command(haproxy: str, folder: str) -> List[str]:
    """How whoever supervises starts it, in the foreground; SIGTERM ends it at once, SIGUSR1 when the last stream has."""
    raise NotImplementedError
