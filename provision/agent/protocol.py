"""What the toolkit and the agent say to each other: JSON lines over one SSH channel.

The toolkit sends a header (which agent, which project path), then requests `{"op": …}`. The agent answers each with
any number of `{"event": …}` lines; the last is `result` or `error`. An `error` carries the facts that
`provision.errors` turns into sentences.
"""

from __future__ import annotations

from typing import Any, Dict

FORMAT = 1  # of release.json, state.json and the journal
SECRET_FOLDER = "secret-files"  # noqa: S105  (in a launch folder; manifests name it)

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
    """Where systemd listens for accounts that may start services of the project at `root`."""
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
