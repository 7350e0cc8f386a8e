"""Ends what a killed worker or a reboot left open: forward where everything was proven, else back."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, Dict, Optional

from . import journal
from . import state as states
from .layout import Layout
from .protocol import AgentError
from .prove import Emit
from .supervisors import open_supervisor
from .transaction import Transaction

FINISHED = "finished"
PUT_BACK = "put back"


def needed(layout: Layout) -> bool:
    return os.path.exists(layout.journal)


def recover(layout: Layout, agent: str, emit: Emit) -> Optional[str]:
    """End an open transaction; what was done, or None where none is open. The caller holds the locks.

    The agent that wrote the journal does it, if it is another one: it alone knows for sure what its lines mean.

    Raises:
        NotProven, AgentError, OSError: the old release can't be proven; the journal is kept.
    """
    records = journal.Journal(layout.journal).read()
    if records is None:
        return None
    begin = records[0]
    writer = os.path.join(layout.agents, str(begin.get("agent")))
    if begin.get("agent") != agent and os.path.isdir(writer):
        return _by_another(layout, writer)
    before, after = states.from_dict(begin["before"]), states.from_dict(begin["after"])
    supervisor = open_supervisor(layout, after.platform or before.platform, options(layout))
    supervisor.ready()
    transaction = Transaction(layout, supervisor, emit, aborted=lambda: False)
    if any(record["step"] == journal.COMMIT for record in records):
        transaction.finish(before, after, begin["kind"], begin["who"], begin["time"], begin["transaction"])
        return FINISHED
    transaction.undo()
    return PUT_BACK


def _by_another(layout: Layout, agent: str) -> Optional[str]:
    done = subprocess.run(
        [sys.executable, "-I", os.path.join(agent, "deploy_agent", "__main__.py"), "recover-locked", layout.root],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode != 0:
        raise AgentError("degraded", done.stderr.decode("utf-8", "replace").strip()[-2000:])
    return done.stdout.decode("utf-8").strip() or None


def options(layout: Layout) -> Dict[str, Any]:
    """How this project reaches its supervisor, as the last deploy wrote it down (targets' own settings)."""
    from . import files

    return dict(files.read_json(os.path.join(layout.private, "supervisor.json")) or {})
