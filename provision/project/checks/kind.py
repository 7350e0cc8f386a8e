"""What a kind of check says of itself, besides the keys that it has in `deploy.toml`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from provision.project.fault import Fault, Path
from provision.project.template import Template

if TYPE_CHECKING:
    from provision.contract.checks import CheckDocument
    from provision.project.checks import Check

# Checks run on the host itself. Not "localhost", which may mean ::1, where a server that was told 127.0.0.1 is not.
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Asked:
    """One declared check of one copy of a service, or of the project.

    Attributes:
        subject: where it is declared.
        label: what its name begins with.
        token: the secret to send, by its name; empty for none.
        text: what stands at a key of it, every reference resolved.
        address: the URL of the service's own port; raises UsageError where it has none.
        env: the service's environment, as far as it is known before a start.
    """

    check: Check
    subject: str
    label: str
    token: str
    text: Callable[[Template, str], str]
    address: Callable[[], str]
    env: Callable[[], dict[str, str]]

    def document(self, kind: str, what: str = "") -> CheckDocument:
        """The part that all kinds have alike; `kind` and `what` name it: "http", "/docs"."""
        return {
            "name": f"{self.label} {kind} {what}".rstrip(),
            "kind": kind,
            "timeout": self.check.timeout,
            "interval": self.check.interval,
            "passes": self.check.passes,
            "attempt_timeout": self.check.attempt_timeout,
        }


@dataclass(frozen=True)
class Kind:
    """One kind of check in `deploy.toml`; `name` is its key there, and its document's `kind`.

    Attributes:
        document: what a host is told; the probe in `provision.agent.checks` works from it.
        faults: what no single value shows: where the check stands, and whether its service has a port (None: it is the
            project's).
        in_container: how who runs containers asks it: a path on its port, or a program inside; None where they can't.
        asks_more: whether it demands more than that.
        sends_token: whether it sends its `token`.
        wakes: whether asking has its service started, where that is on demand; so `deploy smoke` asks it of one, too.
        at_start: whether what it looks at is said at a start alone; so `deploy smoke` passes over it.
        on_host: whether it runs where the release is, also when it is asked from a laptop.
        no_secret: why a secret of that name can't stand in it, and how it is done instead.
        keys: those that count for it, and not for every kind.
    """

    name: str
    document: Callable[[Check, Asked], CheckDocument]
    faults: Callable[[Path, Check, bool | None], Iterable[Fault]] = lambda *_: ()
    in_container: Callable[[Check], tuple[Literal["http", "exec"], tuple[Template, ...]] | None] = lambda _: None
    asks_more: Callable[[Check], bool] = lambda _: False
    sends_token: bool = False
    wakes: bool = False
    at_start: bool = False
    on_host: bool = False
    no_secret: Callable[[str], tuple[str, str]] | None = None
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class InImage:
    """One kind of check in `image.toml`: what its value is, for a person and to judge, and what its probe is told."""

    expected: str
    fits: Callable[[object], bool]  # a list comes as a tuple
    document: Callable[[Any], Mapping[str, Any]]


def shape(text: Template) -> str:
    """The text with NUL, which no value can hold, for each reference."""
    return "".join(part if isinstance(part, str) else "\0" for part in text.parts)
