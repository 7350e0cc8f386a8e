"""What all kinds of checks share: how a probe gets at what it asks."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Mapping, NamedTuple, Optional


class Failed(Exception):
    """One attempt did not pass; the message says why."""


class Final(Failed):
    """Nor would another attempt pass.

    Args:
        facts: what was measured.
    """

    def __init__(self, why: str, facts: Optional[Facts] = None) -> None:
        super().__init__(why)
        self.facts = facts or {}


class Answer(NamedTuple):
    """An answer over HTTP."""

    status: int  # 0: some 2xx, and who asked can't say which
    text: str
    headers: Mapping[str, str]  # by their names in lower case

    @property
    def gist(self) -> str:
        """What a person would quote of it: the message of a JSON error, else its first words."""
        try:
            value = json.loads(self.text)
            error = value.get("error", value)
            message = error.get("message") or error.get("detail") if isinstance(error, dict) else error
            if isinstance(message, str):
                return message[:120]
        except (ValueError, AttributeError, RecursionError):
            pass
        title = re.search(r"<title>([^<]+)", self.text, re.IGNORECASE)
        return " ".join((title[1] if title else self.text).split())[:120]


if TYPE_CHECKING:  # types alone, which would cost a host the time to make them
    from typing import Callable, Iterator, List, Protocol, Sequence

    from ...contract.events import Facts

    class Reach(Protocol):
        """How a probe gets at what it asks: from where it runs (`here`), or inside an image's container.

        Each raises `Failed` where it does not get there.
        """

        def ask(self, url: str, seconds: float, body: Optional[bytes] = None) -> Answer:
            """GET, or POST of JSON where there is a body."""

        def connect(self, host: str, port: int, seconds: float) -> None:
            """Open a connection, and close it."""

        def run(self, argv: Sequence[str], seconds: float, env: Optional[Mapping[str, str]] = None) -> str:
            """The end of what a command says, once it has ended with status 0."""

        def said(self) -> str:
            """The end of what the program that is checked has said since its start."""

    class Streams(Reach, Protocol):
        """And at what a bench measures."""

        @property
        def watch(self) -> Callable[[], None]:
            """Raises where nobody waits for the result any more."""

        def stream(self, url: str, seconds: float, body: bytes) -> Iterator[bytes]:
            """The lines of the answer to a POST of JSON, each as it comes; all of it is over after `seconds`."""

        def beside(self) -> Callable[[], List[str]]:
            """Look from now on who else uses cores and GPUs; called, it says so."""
