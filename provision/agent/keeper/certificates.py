"""Certificates that are due, asked for one after another in a child that ends.

What is given is written down, and then said to HAProxy over its socket: no reload, and nobody who is there is cut off.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

from ...contract import acme as rules
from ...contract import roles
from ...contract.failure import Failure
from ...contract.layout import Layout
from ...contract.slots import STABLE
from .. import acme, files
from .. import state as states
from ..documents import read_documents
from ..front.master import Absent, Master

_LOCK = "lock"


def ask(layout: Layout, agent: str) -> None:
    """For a child of the keeper: all that is due now, unless another one is at it."""
    try:
        with open(os.path.join(layout.acme, _LOCK), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _ask(layout, agent)
    except BlockingIOError:
        pass
    except (Failure, OSError, ValueError, KeyError) as error:
        _say(f"certificates are not looked at: {error}")


def _ask(layout: Layout, agent: str) -> None:
    state = states.read_state(layout)
    documents = read_documents(layout, set(state.channels.values()))
    front = roles.front(documents, state.channels) if roles.stands_before(state) else None
    if front is None or "acme" not in front:
        return
    declared, release = front["acme"], state.channels.get(STABLE, "")
    for service, names in declared["names"].items():
        last = acme.tried(layout).get(service)
        if not rules.is_due(last, declared, service, release, time.time()):
            continue
        try:
            given = acme.ask(layout, declared, service, agent)
            files.write(layout.certificate(service), given.content, 0o600)
        except (Failure, OSError, ValueError) as error:
            why = (error.why or error.what) if isinstance(error, Failure) else str(error)
            acme.note(layout, service, rules.refused(last, names, release, why, time.time()))
            _say(f"{service}: no certificate for {', '.join(names)}: {why}")
            continue
        acme.note(layout, service, rules.given(names, declared["directory"], given.since, given.until))
        _say(f"{service}: a certificate for {', '.join(names)}, good until {time.ctime(given.until)}")
        _show(layout, layout.certificate(service), given.content)


def _show(layout: Layout, path: str, content: str) -> None:
    """Let HAProxy show it from now on; who starts it anew reads the file."""
    master = Master(layout.traffic)
    try:
        worker = master.processes().current
        lines = "\n".join(line for line in content.splitlines() if line)
        said = master.tell(worker, [f"set ssl cert {path} <<\n{lines}\n", f"commit ssl cert {path}"])
        if "Success" not in said[-1]:
            _say(f"HAProxy begins anew, to show it: {' '.join(said)[:200]}")
            master.ask("reload")
    except Absent:
        pass


def _say(text: str) -> None:
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), text, file=sys.stderr, flush=True)  # noqa: T201
