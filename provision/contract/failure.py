"""What went wrong, as one value: raised on a host, carried over the wire, and turned into a sentence on the other side.

Also the one way to refuse what another version wrote.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Mapping, cast

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .events import Details, ErrorMessage

# Of release.json, of state.json, and so of the two states in a journal. Whatever a later version writes, these two keys
# stay: `format`, a number that rises with each change that an older version would misread, and `version`, its name.
FORMAT = 1
FORMAT_OF_SLOTS = 2  # of a state in which a lane is not at home, which version 1 would take for another program
FORMAT_OF_SECRETS = 2  # of a release.json that has variables made of secrets, which version 1 would leave out
FORMAT_OF_COPIES = 3  # of both, where a service has several copies or GPUs of its own, which no host would give it then
FORMAT_OF_TRAFFIC = 4  # of both, where something stands before the programs, which would end with nobody to start it
FORMAT_OF_BENCH = 5  # of a release.json with a check of this kind, which version 4 could neither ask nor leave out
FORMAT_OF_SHARES = 5  # of a state whose canary has another share than it declares, which version 4 would give it back
FORMAT_OF_PEERS = 6  # of both, where one front leads to many machines, which version 5 would open to all, or forget
FORMAT_OF_TURNS = 6  # of a state with a rollout that waits for other hosts, which version 5 has no word for

# Kinds: they decide the exit code (provision.errors.Exit).
FAILED = "failed"
PUT_BACK = "put back"
DEGRADED = "degraded"
REFUSED = "refused"
INTERRUPTED = "interrupted"
USAGE = "usage"
UNPROVEN = "unproven"  # of a program: whoever proves it decides what that means, so it never leaves a host as it is


class Failure(Exception):
    """A failure with the facts that the other side needs.

    Args:
        kind: one of the kinds above.
        what: one sentence of what failed; `why` and `next_step` likewise.
        details: further facts, for whoever reports it.
    """

    def __init__(self, kind: str, what: str, why: str = "", next_step: str = "", **details: Unpack[Details]) -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what
        self.why = why
        self.next_step = next_step
        self.details = details

    @property
    def sentence(self) -> str:
        """What went wrong, and why, in words."""
        return f"{self.what} {self.why}".strip()

    def message(self) -> ErrorMessage:
        return {
            "event": "error",
            "kind": self.kind,
            "what": self.what,
            "why": self.why,
            "next": self.next_step,
            **self.details,
        }


def out_of_degraded(service: str, back: object) -> str:
    """What to do where neither release could be proven.

    Args:
        service: whose log may tell why; empty where that is not known.
        back: whether there is a release to roll back to.
    """
    rollback = "deploy rollback, " if back else ""
    return f"deploy logs {service}".rstrip() + f"; then {rollback}deploy up with what was mended, or deploy unlock"


def of(error: Exception) -> Failure:
    """`error` as a failure: the system's, in its own words."""
    return error if isinstance(error, Failure) else Failure(FAILED, str(error))


def of_system(doing: str, error: OSError) -> Failure:
    """What a host's system refused before anything was disturbed, as a sentence."""
    where = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what, remedy = f"there is no room left on the host ({error.strerror}{where}).", "make room there"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        what, remedy = f"the host does not let us write there ({error.strerror}{where}).", "let it be written to"
    else:
        return Failure(FAILED, f"{doing} failed on the host: {type(error).__name__}: {error}")
    return Failure(REFUSED, what, "Nothing that runs was touched.", f"{remedy}, then deploy up again")


def told(message: ErrorMessage) -> Failure:
    """The failure that a message is of."""
    known = ("event", "kind", "what", "why", "next")
    details = cast("Details", {key: value for key, value in message.items() if key not in known})
    return Failure(message["kind"], message["what"], message["why"], message["next"], **details)


class NewerHost(Failure):
    """What is on the host was written by a later version, and may mean other things than we would read in it."""

    def __init__(self, where: str, format_: int, version: str, reads: int) -> None:
        super().__init__(
            REFUSED,
            f"{where} has format {format_}, written by {version or 'a later version'}; this version reads {reads}.",
            newer={"where": where, "format": format_, "reads": reads, "version": version},
        )


def check_format(value: Mapping[str, object], where: str, reads: int = FORMAT) -> None:
    """Refuse what this version cannot read.

    Args:
        reads: the latest format of its kind that is read.

    Raises:
        NewerHost: a later version wrote it.
        Failure: it has another format, or none.
    """
    found = value.get("format")
    if isinstance(found, int) and found > reads:
        raise NewerHost(where, found, str(value.get("version", "")), reads)
    if not isinstance(found, int) or found < FORMAT:
        raise Failure(
            REFUSED,
            f"{where} has format {found}, this version reads {reads}.",
            next_step="deploy with the version that wrote it",
        )
