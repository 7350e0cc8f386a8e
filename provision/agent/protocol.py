"""What the toolkit and the agent say to each other: JSON lines over one SSH channel.

The toolkit sends a header (which agent, which project path), then requests `{"op": …}`. The agent answers each with
any number of `{"event": …}` lines; the last is `result` or `error`. An `error` carries the facts that
`provision.errors` turns into sentences.
"""

from __future__ import annotations

from typing import Any, Dict

# Of release.json, of state.json, and so of the two states in a journal. Whatever a later version writes, these two keys
# stay: `format`, a number that rises with each change that an older version would misread, and `version`, its name.
FORMAT = 1
FORMAT_OF_SECRETS = 2  # of a release.json that has variables made of secrets, which version 1 would leave out
SECRET_FOLDER = "secret-files"  # noqa: S105  (in a launch folder; manifests name it)
OF_SECRETS = "EnvOfSecrets"  # in a container's manifest: variables that the host puts together of texts and secrets
PROJECT_LABEL = "bitnet-provision.path"  # of a container: the path of the target that it belongs to

CONTROL = "deploy-ctl"  # in the project's folder

Message = Dict[str, Any]

# Last events of a request.
RESULT = "result"
ERROR = "error"
ALIVE = "alive"  # the request is being worked on; says nothing else, and comes as often as the header asks
NEED_AGENT = "need-agent"  # the host lacks this agent: send `size` bytes of zip

# Kinds of error: they decide the exit code (provision.errors.Exit).
FAILED = "failed"
PUT_BACK = "put back"
DEGRADED = "degraded"
REFUSED = "refused"
INTERRUPTED = "interrupted"
USAGE = "usage"

# Outcomes of a transaction, in results and history.
COMMITTED = "committed"
UNCHANGED = "unchanged"


def control_socket(root: str) -> str:
    """Where systemd listens for accounts that may start services of the project at `root`; of two, never one place."""
    told_apart = root.replace("_", "__").replace("-", "_-")  # /a/b is not /a-b
    return f"/run/{CONTROL}{told_apart.replace('/', '-')}.sock"


def earlier_control_socket(root: str) -> str:
    """Where earlier versions had it, which may be the place of another project's; never asked."""
    return f"/run/{CONTROL}{root.replace('/', '-')}.sock"


class AgentError(Exception):
    """A failure with the facts that the other side needs.

    Args:
        kind: one of the kinds above.
        what: one sentence of what failed; `why` and `next_step` likewise.
        details: further facts for `--json` (log lines, holder, attempts).
    """

    def __init__(self, kind: str, what: str, why: str = "", next_step: str = "", **details: Any) -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what
        self.why = why
        self.next_step = next_step
        self.details = details

    def message(self) -> Message:
        return {
            "event": ERROR,
            "kind": self.kind,
            "what": self.what,
            "why": self.why,
            "next": self.next_step,
            **self.details,
        }


class NewerHost(AgentError):
    """What is on the host was written by a later version, and may mean other things than we would read in it."""

    def __init__(self, where: str, format_: int, version: str, reads: int) -> None:
        super().__init__(
            REFUSED,
            f"{where} has format {format_}, written by {version or 'a later version'}; this version reads {reads}.",
            newer={"where": where, "format": format_, "reads": reads, "version": version},
        )


def check_format(value: Dict[str, Any], where: str, reads: int = FORMAT) -> None:
    """Refuse what this version cannot read.

    Args:
        reads: the latest format of its kind that is read.

    Raises:
        NewerHost: a later version wrote it.
        AgentError: it has another format, or none.
    """
    found = value.get("format")
    if isinstance(found, int) and found > reads:
        raise NewerHost(where, found, str(value.get("version", "")), reads)
    if not isinstance(found, int) or found < FORMAT:
        raise AgentError(
            REFUSED,
            f"{where} has format {found}, this version reads {reads}.",
            next_step="deploy with the version that wrote it",
        )
