"""What a kind of check says of itself, besides the keys that it has in `deploy.toml`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from provision.project.fault import Fault, Path
from provision.project.template import Template

if TYPE_CHECKING:
    from provision.agent.checks.check import CheckDocument
    from provision.project.checks import Check

# Checks run on the host itself. Not "localhost", which may mean ::1, where a server that was told 127.0.0.1 is not.
HOST = "127.0.0.1"


class Asked(Protocol):
    """One declared check of one copy of a service, or of the project."""

    @property
    def subject(self) -> str:
        """Where it is declared."""

    @property
    def token(self) -> str:
        """The secret to send, by its name; empty for none."""

    @property
    def address(self) -> str:
        """The URL of the service's own port.

        Raises:
            UsageError: it has none.
        """

    @property
    def env(self) -> dict[str, str]:
        """The service's environment, as far as it is known before a start."""

    def text(self, template: Template, key: str) -> str:
        """What stands at `key` of the check, every reference resolved."""

    def document(self, kind: str, what: str) -> CheckDocument:
        """The part that all kinds have alike. `kind` and `what` are its name: "http", "/docs"."""


@dataclass(frozen=True)
class InContainer:
    """What who runs a container can ask: a path on its port, or a program inside it."""

    kind: Literal["http", "exec"]
    words: tuple[Template, ...]  # the path, or the program and its arguments


@dataclass(frozen=True)
class Kind:
    """One kind of check in `deploy.toml`; `name` is its key there, and its document's `kind`.

    Attributes:
        faults: given where a check stands, the check, and whether its service has a port (None: it belongs to the
            project), what is wrong with it that no single value shows.
        document: what a host is told; `provision.agent.checks` has the probe that works from it.
        in_container: the same for who runs containers; None where they can't ask that.
        asks_more: whether it demands more than `in_container` does.
        sends_token: whether it sends its `token`.
        on_host: whether it runs where the release is, also when it is asked from a laptop.
        no_secret: why the named secret can't stand in it, and how it is done instead; None where nothing special is
            to be said.
    """

    name: str
    faults: Callable[[Path, Check, bool | None], Iterator[Fault]]
    document: Callable[[Check, Asked], CheckDocument]
    in_container: Callable[[Check], InContainer | None] = lambda _: None
    asks_more: Callable[[Check], bool] = lambda _: False
    sends_token: bool = False
    on_host: bool = False
    no_secret: Callable[[str], tuple[str, str]] | None = None


@dataclass(frozen=True)
class InImage:
    """One kind of check in `image.toml`.

    Attributes:
        expected: what a value of it is, for a person.
        fits: whether something is one. Lists come as tuples.
        document: what its probe needs of it, besides what all kinds have alike.
    """

    expected: str
    fits: Callable[[object], bool]
    document: Callable[[Any], Mapping[str, Any]]


def shape(text: Template) -> str:
    """The text with NUL, which no value can hold, for each reference."""
    return "".join(part if isinstance(part, str) else "\0" for part in text.parts)
